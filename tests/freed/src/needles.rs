//! The search: eight bytes of memory against eight bytes of every secret.

use std::collections::{BTreeMap, BTreeSet};

/// Every 8 bytes of every secret. Any 15 bytes of a secret in a row have one of them.
pub(crate) struct Needles {
    /// Sorted, with the secret that they belong to.
    windows: Vec<(u64, usize)>,
    names: Vec<&'static str>,
    /// Which values the first two bytes of a window have: most of memory is told apart by that.
    filter: Vec<bool>,
    /// Which secrets were found in this block.
    seen: Vec<bool>,
}

const WINDOW: usize = 8;

impl Needles {
    pub(crate) fn new(secrets: &[(&'static str, Vec<u8>)]) -> Self {
        let secrets: BTreeSet<_> = secrets.iter().collect();
        let mut needles =
            Self { windows: vec![], names: vec![], filter: vec![false; 1 << 16], seen: vec![false; secrets.len()] };
        for (index, (name, secret)) in secrets.iter().enumerate() {
            assert!(secret.len() >= WINDOW, "{name} is too short to be searched for");
            needles.names.push(name);
            for window in forms(secret).iter().flat_map(|form| form.chunks_exact(WINDOW).map(<[u8]>::to_vec)) {
                assert!(window.iter().any(|byte| *byte != window[0]), "{name} would be found by chance");
                needles.filter[usize::from(u16::from_le_bytes([window[0], window[1]]))] = true;
                needles.windows.push((u64::from_le_bytes(window.try_into().expect("8 bytes")), index));
            }
        }
        needles.windows.sort_unstable();
        needles
    }

    /// The windows of a memory, each once, with the secrets that they belong to.
    fn each(&self, size: usize, byte: impl Fn(usize) -> u8, mut hit: impl FnMut(usize)) {
        let mut window = 0u64;
        for i in 0..size {
            window = (window >> 8) | (u64::from(byte(i)) << 56);
            if i + 1 >= WINDOW && self.filter[(window & 0xffff) as usize] {
                let from = self.windows.partition_point(|(needle, _)| *needle < window);
                self.windows[from..].iter().take_while(|(needle, _)| *needle == window).for_each(|(_, i)| hit(*i));
            }
        }
    }

    /// The secrets that are in a block, each once. Nothing is allocated.
    pub(crate) fn search(&mut self, size: usize, byte: impl Fn(usize) -> u8) -> impl Iterator<Item = &'static str> {
        let mut seen = std::mem::take(&mut self.seen);
        seen.fill(false);
        self.each(size, byte, |secret| seen[secret] = true);
        self.seen = seen;
        self.names.iter().zip(&self.seen).filter_map(|(name, seen)| seen.then_some(*name))
    }

    /// How many windows of each secret are in these bytes.
    pub(crate) fn count(&self, bytes: &[u8]) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        self.each(bytes.len(), |i| bytes[i], |secret| *counts.entry(self.names[secret]).or_default() += 1);
        counts
    }
}

/// As it is; backwards, as a big-endian number's limbs lie; in words of four bytes backwards, as a hash takes it in.
fn forms(secret: &[u8]) -> [Vec<u8>; 3] {
    let backwards: Vec<u8> = secret.iter().rev().copied().collect();
    let words = secret.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
    [secret.to_vec(), backwards, words]
}
