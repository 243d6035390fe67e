//! Inputs that `arbitrary` reads and that seeds are written from.
#![allow(dead_code)] // what seeds are written with isn't replayed

/// What `arbitrary`'s derive reads as this value; the seeds check it.
pub trait Encode {
    fn encode(&self) -> Vec<u8>;
}

impl Encode for u8 {
    fn encode(&self) -> Vec<u8> {
        vec![*self]
    }
}

impl Encode for bool {
    fn encode(&self) -> Vec<u8> {
        vec![u8::from(*self)]
    }
}

impl Encode for u16 {
    fn encode(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self) -> Vec<u8> {
        self.as_ref().map_or_else(|| vec![0], |value| [vec![1], value.encode()].concat())
    }
}

/// A variant is four bytes that stand for its share of their range.
pub fn variant(name: &str, names: &[&str]) -> Vec<u8> {
    let (index, count) = (names.iter().position(|other| *other == name).unwrap() as u64, names.len() as u64);
    u32::try_from((index << 32).div_ceil(count)).unwrap().to_le_bytes().to_vec()
}

/// An enum of an input.
macro_rules! input {
    ($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$doc:meta])* $variant:ident $({ $($field:ident: $type:ty),* $(,)? })?),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(arbitrary::Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant $({ $($field: $type),* })?),*
        }

        impl $crate::harness::input::Encode for $name {
            fn encode(&self) -> Vec<u8> {
                const NAMES: &[&str] = &[$(stringify!($variant)),*];
                match self {
                    $(Self::$variant $({ $($field),* })? => {
                        #[allow(unused_mut)]
                        let mut bytes = $crate::harness::input::variant(stringify!($variant), NAMES);
                        $($(bytes.extend($crate::harness::input::Encode::encode($field));)*)?
                        bytes
                    })*
                }
            }
        }
    };
}

pub(crate) use input;
