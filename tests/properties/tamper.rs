//! Damage on the way: what a network, or somebody in it, does to a message.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One damage. Applied to anything that is not empty, it gives other bytes.
#[derive(Clone, Debug)]
pub(crate) enum Tamper {
    Flip { at: Index, bit: u32 },
    Truncate { to: Index },
    Extend { by: Vec<u8> },
}

impl Tamper {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Flip { at, bit } => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Truncate { to } => bytes.truncate(to.index(bytes.len())),
            Self::Extend { by } => bytes.extend_from_slice(by),
        }
        bytes
    }
}

pub(crate) fn flip() -> impl Strategy<Value = Tamper> {
    (any::<Index>(), 0..8u32).prop_map(|(at, bit)| Tamper::Flip { at, bit })
}

/// Any of the three, flips in half of the cases.
pub(crate) fn tamper() -> impl Strategy<Value = Tamper> {
    prop_oneof![
        2 => flip(),
        1 => any::<Index>().prop_map(|to| Tamper::Truncate { to }),
        1 => vec(any::<u8>(), 1..40).prop_map(|by| Tamper::Extend { by }),
    ]
}
