//! A thread whose stack belongs to the test: what is left on it can be looked at.

use std::cell::Cell;
use std::ffi::c_void;

thread_local! {
    /// Where the stack of this thread begins, if it is the test's.
    static BASE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// More than a frame of what looks at the stack: so much of it is not looked at.
const MARGIN: usize = 4_096;

/// Runs `run` below the part of the stack that isn't looked at.
#[inline(never)]
pub(crate) fn deeper<T>(run: impl FnOnce() -> T) -> T {
    let margin = std::hint::black_box([0u8; 2 * MARGIN]);
    let output = run();
    std::hint::black_box(&margin);
    output
}

/// What the calls that have returned have left on this thread's stack, which is zeroed then. Nothing for another stack than
/// [`on_own_stack`]'s.
#[inline(never)]
pub(crate) fn residue() -> Vec<u8> {
    let Some(base) = BASE.get() else { return vec![] };
    let here = 0u8;
    let size = (&raw const here).addr() - base - MARGIN;
    let mut residue = vec![0; size];
    let stack = std::ptr::with_exposed_provenance_mut::<u8>(base);
    for (i, byte) in residue.iter_mut().enumerate() {
        // SAFETY: `on_own_stack` mapped these bytes for this thread. They lie below every live frame, this one's and what
        // may be written beneath it included; no function is called before the loop ends.
        unsafe {
            let place = stack.add(i);
            *byte = place.read_volatile();
            place.write_volatile(0);
        }
    }
    residue
}

/// Runs `run` in a thread with a stack of `size` bytes, zeroed before.
///
/// # Panics
/// If there is no such thread, or `run` panics.
pub fn on_own_stack<T: Send, F: FnOnce() -> T + Send>(size: usize, run: F) -> T {
    struct Work<T, F>(Option<F>, Option<std::thread::Result<T>>, usize);

    extern "C" fn start<T, F: FnOnce() -> T>(work: *mut c_void) -> *mut c_void {
        // SAFETY: `on_own_stack` gives a pointer to its `work`, and waits for this thread before it looks at it.
        let work = unsafe { &mut *work.cast::<Work<T, F>>() };
        if let Some(run) = work.0.take() {
            BASE.set(Some(work.2));
            work.1 = Some(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)));
        }
        std::ptr::null_mut()
    }

    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, page-aligned and zeroed, which nothing else knows.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED, "no memory for a stack");
    let mut work = Work(Some(run), None::<std::thread::Result<T>>, base.expose_provenance());
    // SAFETY: the attributes are initialised before they are used; the stack and `work` outlive the thread, which is joined;
    // after that nothing uses the mapping any more, and it is unmapped once.
    unsafe {
        let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
        assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstack(&raw mut attributes, base, size), 0);
        let mut thread = std::mem::zeroed::<libc::pthread_t>();
        let argument = (&raw mut work).cast::<c_void>();
        assert_eq!(libc::pthread_create(&raw mut thread, &raw const attributes, start::<T, F>, argument), 0);
        assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
        libc::pthread_attr_destroy(&raw mut attributes);
        libc::munmap(base, size);
    }
    match work.1 {
        Some(Ok(output)) => output,
        _ => panic!("the flow on its own stack panicked"),
    }
}
