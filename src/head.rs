//! Vault heads and pins: what both sides know of the chain that the changes of a vault form.
//!
//! Every change of a vault moves its head on by one. The client seals each head; the server keeps all of them, and can
//! neither read nor make one (`docs/protocol.md`, "Vault head").

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

use crate::codec::joined;
use crate::error::{CallerFault, Error};
use crate::id::hex;
use crate::suite::{label, sha256};

/// A link of the chain: `epoch[8] ‖ nonce[12] ‖ sealed[120]`, 140 bytes. Only the epoch, its number from 0, is readable.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedHead(#[serde(with = "BigArray")] [u8; Self::LEN]);

impl SealedHead {
    /// Its length in bytes.
    pub const LEN: usize = 140;

    /// Takes a head's bytes. Whether they are the client's shows when they are opened.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The head's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Its number in the chain, from 0.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.first_chunk().map_or(0, |epoch| u64::from_be_bytes(*epoch))
    }

    /// The pin of this head: `SHA-256("keystow v1 head" ‖ head)` beside its epoch.
    #[must_use]
    pub fn pin(&self) -> VaultPin {
        VaultPin { epoch: self.epoch(), hash: sha256(&[label::HEAD_HASH, &self.0]) }
    }
}

impl fmt::Debug for SealedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedHead").field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// What a device remembers of a vault's chain: the epoch and hash of one head, 40 bytes.
///
/// Keep [`crate::ClientSession::pin`] on the device whenever it has changed, and give it to the next
/// [`crate::Client::log_in`]: a server that shows an older vault, or another history, is found out. An older pin of the
/// same vault is as right as a newer one; it only lets the server go back further unseen. Not secret, but nobody else
/// must be able to change it.
///
/// Its text form, for a person to read aloud or to scan, is Bech32m (BIP 350) under the prefix `kspin`: 64 to 76
/// characters of one case, with a checksum that finds every mistake of up to four characters.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultPin {
    pub(crate) epoch: u64,
    pub(crate) hash: [u8; 32],
}

/// The text form's prefix.
const PREFIX: Hrp = Hrp::parse_unchecked("kspin");

impl VaultPin {
    /// Its length in bytes.
    pub const LEN: usize = 40;

    /// `epoch[8] ‖ hash[32]`, big-endian.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        joined(&[&self.epoch.to_be_bytes(), &self.hash])
    }

    /// Reads what [`VaultPin::to_bytes`] gave. Any 40 bytes are a pin; a wrong one is refused by the next login.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (mut epoch, mut hash) = ([0; 8], [0; 32]);
        for (byte, value) in epoch.iter_mut().chain(&mut hash).zip(bytes) {
            *byte = *value;
        }
        Self { epoch: u64::from_be_bytes(epoch), hash }
    }

    /// The number of the head: how many changes the vault had seen.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the text form spells: `hash[32] ‖ epoch`, the epoch big-endian without leading zero bytes.
    fn spelled(&self) -> impl Iterator<Item = u8> {
        let epoch = self.epoch.to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
        self.hash.into_iter().chain(epoch)
    }

    fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-').collect();
        let checked = CheckedHrpstring::new::<Bech32m>(&text).ok().filter(|checked| checked.hrp() == PREFIX)?;
        let (mut hash, mut epoch, mut bytes) = ([0; 32], 0u64, checked.byte_iter());
        for byte in &mut hash {
            *byte = bytes.next()?;
        }
        for byte in bytes {
            epoch = epoch.checked_mul(256)?.checked_add(u64::from(byte))?;
        }
        // One spelling alone: leading zero bytes and bits that are left over are refused.
        let pin = Self { epoch, hash };
        (pin.to_string() == text.to_ascii_lowercase()).then_some(pin)
    }
}

impl fmt::Display for VaultPin {
    /// The text form, in lower case; in upper case (a QR code's denser alphabet) it is the same pin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
        let mut characters = self.spelled().bytes_to_fes().with_checksum::<Bech32m>(&PREFIX).chars();
        characters.try_for_each(|c| fmt::Write::write_char(f, c))
    }
}

impl FromStr for VaultPin {
    type Err = Error;

    /// Reads the text form, in one case; spaces and hyphens between groups are skipped.
    ///
    /// # Errors
    /// [`CallerFault::DamagedValue`] for anything else, a single wrong character included.
    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self::parse(text).ok_or(CallerFault::DamagedValue("vault pin"))?)
    }
}

impl fmt::Debug for VaultPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultPin({}, ", self.epoch)?;
        hex(&self.hash, f)?;
        f.write_str(")")
    }
}

/// What a login's view of the vault rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultTrust {
    /// On the pin that was given: the server's chain goes on from it.
    Pinned,
    /// On nothing but the server's word that this head is the newest: a vault that it put back whole is not noticed.
    FirstUse,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn pin(epoch: u64) -> VaultPin {
        VaultPin { epoch, hash: sha256(&[b"a test's head"]) }
    }

    #[test]
    fn a_pin_reads_back_from_its_bytes_and_from_its_text() {
        for epoch in [0, 1, 255, 256, 70_000, u64::MAX] {
            let text = pin(epoch).to_string();
            assert!((64..=76).contains(&text.len()), "{}", text.len());
            assert_eq!(VaultPin::from_bytes(&pin(epoch).to_bytes()), pin(epoch));
            assert_eq!(text.parse(), Ok(pin(epoch)));
            assert_eq!(text.to_ascii_uppercase().parse(), Ok(pin(epoch)));
            let (head, tail) = text.split_at(30);
            assert_eq!(alloc::format!(" {head}-{tail}\n").parse(), Ok(pin(epoch)));
        }
    }

    #[test]
    fn every_single_wrong_missing_or_doubled_character_of_a_pins_text_is_refused() {
        let text: Vec<char> = pin(300).to_string().chars().collect();
        let refused = |characters: &[&[char]]| {
            let text: String = characters.concat().into_iter().collect();
            assert!(text.parse::<VaultPin>().is_err(), "{text}");
        };
        for (i, right) in text.iter().enumerate() {
            let (before, from) = text.split_at(i);
            for wrong in "qpzry9x8gf2tvdw0s3jn54khce6mua7l1".chars().filter(|wrong| wrong != right) {
                refused(&[before, &[wrong], &from[1..]]);
            }
            refused(&[before, &from[1..]]);
            refused(&[before, &[*right], from]);
        }
    }

    /// BIP 350's checksum alone would let these through.
    #[test]
    fn another_spelling_prefix_or_checksum_of_a_pin_is_refused() {
        let spell = |bytes: &[u8]| bech32::encode::<Bech32m>(PREFIX, bytes).unwrap();
        let (zero, nine) = ([&[7; 32][..], &[0, 1]].concat(), [&[7; 32][..], &[1; 9]].concat());
        for bytes in [&zero, &nine, &[7; 31][..]] {
            assert!(spell(bytes).parse::<VaultPin>().is_err(), "{bytes:?}");
        }
        assert!(spell(&[7; 33]).parse::<VaultPin>().is_ok());
        assert!(bech32::encode::<bech32::Bech32>(PREFIX, &[7; 33]).unwrap().parse::<VaultPin>().is_err());
        let other = bech32::encode::<Bech32m>(Hrp::parse("other").unwrap(), &[7; 33]).unwrap();
        assert!(other.parse::<VaultPin>().is_err());
        for text in ["", "kspin", "kspin1", "kspin1qqqqqq", "\u{e9}"] {
            assert!(text.parse::<VaultPin>().is_err());
        }
    }

    #[test]
    fn a_heads_pin_depends_on_every_byte_of_it() {
        let head = SealedHead::from_bytes([3; 140]);
        assert_eq!(head.pin().epoch, 0x0303_0303_0303_0303);
        for i in 0..SealedHead::LEN {
            let mut other = *head.as_bytes();
            other[i] ^= 1;
            assert_ne!(SealedHead::from_bytes(other).pin(), head.pin());
        }
    }
}
