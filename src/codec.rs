//! The one byte encoding: a version byte, then `postcard`, in its one canonical form.

use alloc::vec::Vec;
use core::ops::Deref;

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{CallerFault, Error, PeerFault};
use crate::suite::{TAG_LEN, VERSION};

/// The greatest length of an encoded message in bytes: 1 MiB.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The greatest number of items in a batch.
pub const MAX_BATCH: usize = 256;

/// The greatest length in bytes of the items in an answer: 512 KiB.
pub(crate) const MAX_PAGE: usize = 512 * 1024;

/// Version byte and canonical bytes of a value.
///
/// # Errors
/// [`CallerFault::TooLong`] over 1 MiB, before anything is allocated.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    extend(&[VERSION], value, 0)
}

/// Canonical bytes of a value that travels where the version is authenticated already: inside a frame, whose tag there is
/// room for.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_body<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    extend(&[], value, TAG_LEN)
}

fn extend<T: Serialize>(start: &[u8], value: &T, room: usize) -> Result<Vec<u8>, Error> {
    const TOO_LONG: CallerFault = CallerFault::TooLong { max: MAX_MESSAGE };
    let len = postcard::experimental::serialized_size(value).map_err(|_| TOO_LONG)?.saturating_add(start.len());
    if len > MAX_MESSAGE {
        return Err(TOO_LONG.into());
    }
    let mut bytes = Vec::with_capacity(len.saturating_add(room));
    bytes.extend_from_slice(start);
    bytes.resize(len, 0);
    // Into a slice, since most of what is written comes byte by byte, and a vector would look for room each time.
    let body = bytes.get_mut(start.len()..).unwrap_or_default();
    postcard::to_slice(value, body).map_err(|_| TOO_LONG)?;
    Ok(bytes)
}

/// Parts whose lengths are fixed and come to `N` bytes in all, one after the other.
#[inline]
pub(crate) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = Joined::<N>::default();
    for part in parts {
        bytes.push(part);
    }
    bytes.bytes
}

/// Parts, one after the other, at most `MAX` bytes and without a heap.
pub(crate) struct Joined<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Default for Joined<MAX> {
    fn default() -> Self {
        Self { bytes: [0; MAX], len: 0 }
    }
}

impl<const MAX: usize> Joined<MAX> {
    /// Appends a part and says whether there was room for it.
    #[inline]
    pub(crate) fn push(&mut self, part: &[u8]) -> bool {
        let end = self.len.saturating_add(part.len());
        let Some(room) = self.bytes.get_mut(self.len..end) else { return false };
        room.copy_from_slice(part);
        self.len = end;
        true
    }
}

impl<const MAX: usize> Deref for Joined<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Reads what [`encode`] wrote, and nothing else.
///
/// # Errors
/// [`PeerFault::TooLong`], [`PeerFault::Version`], [`PeerFault::Undecodable`].
pub(crate) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, PeerFault> {
    check_len(bytes)?;
    match bytes.split_first() {
        Some((&VERSION, body)) => decode_body(body),
        Some((&version, _)) => Err(PeerFault::Version(version)),
        None => Err(PeerFault::Undecodable),
    }
}

/// Reads what [`encode_body`] wrote, and nothing else: the length is checked before anything is allocated, all
/// bytes are consumed, and a value that would be written otherwise is refused.
///
/// # Errors
/// [`PeerFault::TooLong`], [`PeerFault::Undecodable`].
pub(crate) fn decode_body<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, PeerFault> {
    check_len(bytes)?;
    let value: T = postcard::from_bytes(bytes).map_err(|_| PeerFault::Undecodable)?;
    // postcard takes overlong integers and ignores trailing bytes: only what it would write itself is canonical.
    postcard::serialize_with_flavor(&value, Remaining(bytes)).map_err(|_| PeerFault::Undecodable)?;
    Ok(value)
}

/// Takes what is written, if it is what these bytes go on with, and holds none of it.
struct Remaining<'a>(&'a [u8]);

impl Flavor for Remaining<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        let (_, rest) =
            self.0.split_first().filter(|(next, _)| **next == byte).ok_or(postcard::Error::SerializeBufferFull)?;
        self.0 = rest;
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }
}

fn check_len(bytes: &[u8]) -> Result<(), PeerFault> {
    if bytes.len() > MAX_MESSAGE {
        return Err(PeerFault::TooLong { len: bytes.len(), max: MAX_MESSAGE });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_was_encoded_decodes_and_nothing_else_does() {
        let bytes = encode(&300u32).unwrap();
        assert_eq!(bytes, [1, 0xac, 0x02]);
        assert_eq!(decode::<u32>(&bytes), Ok(300));
        assert_eq!(decode::<u32>(&[1, 0xac, 0x82, 0x00]), Err(PeerFault::Undecodable), "overlong");
        assert_eq!(decode::<u32>(&[1, 0xac, 0x02, 0x00]), Err(PeerFault::Undecodable), "trailing");
        assert_eq!(decode::<u32>(&[1, 0xac]), Err(PeerFault::Undecodable), "truncated");
        assert_eq!(decode::<u32>(&[2, 0xac, 0x02]), Err(PeerFault::Version(2)));
        assert_eq!(decode::<u32>(&[]), Err(PeerFault::Undecodable));
    }

    #[test]
    fn lengths_are_bounded() {
        // Behind the version byte and three bytes of length.
        let longest = vec![0u8; MAX_MESSAGE - 4];
        assert_eq!(encode(&longest).map(|bytes| (bytes.len(), decode(&bytes))), Ok((MAX_MESSAGE, Ok(longest))));
        let too_long = encode(&vec![0u8; MAX_MESSAGE - 3]);
        assert_eq!(too_long, Err(CallerFault::TooLong { max: 1_048_576 }.into()));
        let long = vec![1; MAX_MESSAGE + 1];
        assert_eq!(decode::<u32>(&long), Err(PeerFault::TooLong { len: MAX_MESSAGE + 1, max: MAX_MESSAGE }));
    }
}
