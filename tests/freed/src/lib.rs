//! An allocator that searches every block for known secrets when it is freed, and a thread whose stack is searched after each
//! flow. For tests.
//!
//! ```text
//! #[global_allocator]
//! static ALLOCATOR: freed::Searching = freed::Searching;
//!
//! let search = freed::Search::new(&[("password", b"..")]);
//! search.during("log in", || ..);
//! assert_eq!(search.found(), ..);
//! ```

mod needles;
mod stack;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use needles::Needles;
pub use stack::on_own_stack;

/// The system's allocator, which searches what a watched thread frees.
///
/// `realloc` is the trait's own: a block that grows is always moved, and what it leaves is a freed block.
#[derive(Debug)]
pub struct Searching;

// SAFETY: every call goes on to the system's allocator, with the layout that it came with.
unsafe impl GlobalAlloc for Searching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that a block holds nothing but what was written in its own life: each copy is found once.
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(flow) = FLOW.try_with(Cell::get).ok().flatten() {
            // Volatile, so that the compiler has to write what the program wrote before it frees.
            // SAFETY: the block is allocated until the next line, and was zeroed when it came.
            look(flow, layout.size(), |i| unsafe { block.add(i).read_volatile() });
        }
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Who frees what: a side and its flow.
pub type Flow = (&'static str, &'static str);

thread_local! {
    /// What this thread is doing, while it is watched.
    static FLOW: Cell<Option<Flow>> = const { Cell::new(None) };
}

/// What is searched for, and what was found. Nothing in it allocates while a block is being freed.
struct State {
    needles: Needles,
    hits: Vec<Hit>,
    residue: BTreeMap<(Flow, &'static str), usize>,
}

/// A secret in one freed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Which side freed it: "client", "server".
    pub side: &'static str,
    /// In which flow.
    pub flow: &'static str,
    /// The secret's name.
    pub secret: &'static str,
    /// The block's size.
    pub size: usize,
}

/// More hits than this are counted as one too many, not kept.
const MOST: usize = 1 << 14;

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Tests of one binary run at once, and there is one allocator.
static TURN: Mutex<()> = Mutex::new(());

fn look(flow: Flow, size: usize, byte: impl Fn(usize) -> u8) {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(State { needles, hits, .. }) = state.as_mut() else { return };
    let found = needles.search(size, byte);
    let (side, name) = flow;
    for secret in found {
        if hits.len() < MOST {
            hits.push(Hit { side, flow: name, secret, size });
        }
        if BACKTRACE.with(Cell::get) {
            // What this allocates and frees isn't looked at.
            FLOW.set(None);
            eprintln!("{side}: {name}: {secret} in {size} freed bytes\n{}", Backtrace::force_capture());
            FLOW.set(Some(flow));
        }
    }
}

thread_local! {
    static BACKTRACE: Cell<bool> = const { Cell::new(false) };
}

/// A search for some secrets; there is one at a time. `FREED_BACKTRACE=1` prints where each hit was freed.
#[derive(Debug)]
pub struct Search {
    _turn: MutexGuard<'static, ()>,
}

impl Search {
    /// Searches for these secrets, each once: every 8 of their bytes, as they are, in the byte order of a number's limbs, and in that of
    /// a hash's words.
    ///
    /// # Panics
    /// For a secret of under 8 bytes, or of one byte again and again: it would be found by chance.
    pub fn new(secrets: &[(&'static str, Vec<u8>)]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let state = State { needles: Needles::new(secrets), hits: Vec::with_capacity(MOST), residue: BTreeMap::new() };
        BACKTRACE.set(std::env::var_os("FREED_BACKTRACE").is_some());
        // The old state is dropped unlocked: to free it is to look at it.
        let old = STATE.lock().unwrap_or_else(PoisonError::into_inner).replace(state);
        drop(old);
        Self { _turn: turn }
    }

    /// Watches what this thread frees in `flow`, and, in [`on_own_stack`], what the flow leaves on the stack.
    pub fn during<T>(&self, side: &'static str, flow: &'static str, run: impl FnOnce() -> T) -> T {
        let output = stack::deeper(|| {
            let before = FLOW.replace(Some((side, flow)));
            let output = run();
            FLOW.set(before);
            output
        });
        let left = stack::residue();
        if let Some(State { needles, residue, .. }) = STATE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            for (secret, count) in needles.count(&left) {
                *residue.entry(((side, flow), secret)).or_default() += count;
            }
        }
        output
    }

    /// How often each secret was found in a freed block of each flow, and of which sizes. Starts again from nothing.
    ///
    /// # Panics
    /// After more hits than are kept.
    #[must_use]
    pub fn found(&self) -> BTreeMap<Hit, usize> {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        let hits: Vec<Hit> = state.as_mut().map(|state| state.hits.drain(..).collect()).unwrap_or_default();
        drop(state);
        assert!(hits.len() < MOST, "more hits than are kept");
        hits.into_iter().fold(BTreeMap::new(), |mut counts, hit| {
            *counts.entry(hit).or_default() += 1;
            counts
        })
    }

    /// How many 8-byte pieces of each secret were on the stack after each flow.
    #[must_use]
    pub fn residue(&self) -> BTreeMap<(Flow, &'static str), usize> {
        let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|state| state.residue.clone()).unwrap_or_default()
    }
}
