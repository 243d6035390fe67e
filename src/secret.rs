//! The one wrapper for secret bytes: boxed, wiped on drop, redacted in `Debug`, compared in constant time.
//!
//! The bytes live on the heap from the first write on, because moving an inline array leaves copies of
//! it on the stack that nothing wipes.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, zeroize_stack};

/// Secret bytes of a fixed (`[u8; N]`) or variable (`[u8]`) length.
///
/// Wiped when dropped (`zeroize`), compared through `subtle`, and never printed: `Debug` shows the type
/// alone. It is not `Clone`: a copy is made on purpose or not at all.
pub struct Secret<T: Zeroize + ?Sized>(Box<T>);

/// A 32-byte key.
pub(crate) type Key = Secret<[u8; 32]>;

/// Secret bytes of a variable length.
pub type SecretBytes = Secret<[u8]>;

impl<const N: usize> Secret<[u8; N]> {
    /// Allocates `N` zero bytes on the heap and lets `write` fill them in place.
    pub(crate) fn write(write: impl FnOnce(&mut [u8; N])) -> Self {
        let mut secret = Self(Box::new([0; N]));
        write(&mut secret.0);
        secret
    }

    /// The same, for a `write` that can fail: what it had written is wiped.
    pub(crate) fn try_write<E>(write: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([0; N]));
        write(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes.
    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize, const M: usize> Secret<[[u8; N]; M]> {
    /// As for a single one.
    pub(crate) fn try_write<E>(write: impl FnOnce(&mut [[u8; N]; M]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(Box::new([[0; N]; M]));
        write(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes of each.
    pub(crate) fn expose(&self) -> &[[u8; N]; M] {
        &self.0
    }
}

impl Secret<[u8]> {
    /// Allocates `len` zero bytes on the heap and lets `write` fill them in place.
    pub(crate) fn try_write_slice<E>(len: usize, write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self(alloc::vec![0; len].into_boxed_slice());
        write(&mut secret.0)?;
        Ok(secret)
    }

    /// Copies `parts`, one after the other, into one allocation of the right size.
    pub(crate) fn concat(parts: &[&[u8]]) -> Self {
        let len = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let mut bytes = Vec::with_capacity(len);
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Self(bytes.into_boxed_slice())
    }

    /// Copies `bytes` and lets `edit` change them in place. If that fails, the copy is wiped.
    pub(crate) fn try_edit<E>(bytes: &[u8], edit: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::concat(&[bytes]);
        edit(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes. They are copied out of the wiped allocation only if you copy them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Zeroize + ?Sized> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize + ?Sized> ZeroizeOnDrop for Secret<T> {}

impl<T: Zeroize + ?Sized> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<const N: usize> ConstantTimeEq for Secret<[u8; N]> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl ConstantTimeEq for Secret<[u8]> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// What hashes, their keys and integers leave on the stack lies in the 4 KiB beneath.
pub(crate) const HASHES: usize = 4 * 1024;

/// The same for curves, OPAQUE and Argon2: 16 KiB.
pub(crate) const CURVES: usize = 16 * 1024;

/// The same for `k256`, which multiplies beside a copy of its 31 KiB table on the stack: the scalar's digits lie below it.
pub(crate) const K256: usize = 48 * 1024;

/// Runs `work` in a frame of its own, and overwrites so many bytes of the stack beneath the caller's when it has returned.
///
/// For crates that take or return secrets inline: their copies on the stack would be moved into unused bytes of other values,
/// and with them to the heap. What `work` gives must be boxed. `tests/memory.rs` searches for what the depths leave.
#[inline(never)]
pub(crate) fn scrubbed<const BENEATH: usize, T>(work: impl FnOnce() -> T) -> T {
    let output = apart(work);
    zeroize_stack::<BENEATH>();
    output
}

#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Keys inside of a session that is sealed to be kept elsewhere (`#[serde(with)]`): the bytes go into a buffer that is sealed
/// in place, and come from one that is wiped. [`Secret`] itself is not serialisable.
pub(crate) mod exposed {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Secret;

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        secret: &Secret<[u8; N]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(secret.expose())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<Secret<[u8; N]>, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Secret::<[u8; N]>::try_write(|secret| {
            let bytes: &[u8; N] = bytes.try_into().map_err(|_| D::Error::custom("a key of another length"))?;
            secret.copy_from_slice(bytes);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn debug_shows_no_byte() {
        let secret = Secret::<[u8; 4]>::write(|bytes| *bytes = [0x41; 4]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(format!("{:?}", SecretBytes::concat(&[b"AAAA"])), "Secret(..)");
    }

    #[test]
    fn comparison_sees_every_byte_and_the_length() {
        let a = SecretBytes::concat(&[b"ab", b"", b"c"]);
        assert!(bool::from(a.ct_eq(&SecretBytes::concat(&[b"abc"]))));
        assert!(!bool::from(a.ct_eq(&SecretBytes::concat(&[b"abd"]))));
        assert!(!bool::from(a.ct_eq(&SecretBytes::concat(&[b"ab"]))));
    }
}
