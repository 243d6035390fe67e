//! Names of things: accounts, users, secrets, sessions, and points in time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{CallerFault, Error};

/// Writes bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; $len]);

        impl $name {
            #[doc = concat!("From its ", stringify!($len), " bytes.")]
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            #[doc = concat!("The ", stringify!($len), " bytes.")]
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hexadecimal.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Reads hexadecimal, in either case.
            ///
            /// # Errors
            /// [`CallerFault::DamagedValue`] for anything but its length in hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; $len];
                match base16ct::mixed::decode(text, &mut bytes) {
                    Ok(decoded) if decoded.len() == $len => Ok(Self(bytes)),
                    _ => Err(CallerFault::DamagedValue(stringify!($name)).into()),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id! {
    /// 16 random bytes that stand for one person's account, drawn by the server at registration.
    UserId, 16
}
byte_id! {
    /// 16 bytes that name a stored secret and commit to its header:
    /// `SHA-256("keystow v1 key id" ‖ header)[..16]`, see [`crate::Header::key_id`].
    KeyId, 16
}
byte_id! {
    /// The first 16 bytes of SHA-256 over the first message of a session. It routes; it proves nothing.
    SessionId, 16
}
byte_id! {
    /// OPAQUE's credential identifier (RFC 9807, section 2.2): 32 random bytes, fresh with every
    /// registration and every change of password. An account has exactly one at a time.
    CredentialId, 32
}
byte_id! {
    /// 32 bytes that key an account name's attempt counter: a hash of the name, so that a name without
    /// an account is counted like any other.
    CounterId, 32
}
byte_id! {
    /// The server's long-term OPAQUE public key (ristretto255, 32 bytes).
    ///
    /// [`crate::Client::register`] gives it; keep it on the device and hand it to
    /// [`crate::Client::pin_server_key`], so that a login at another server is refused.
    ServerKey, 32
}

/// The name that a person logs in with: 1 to 255 bytes, compared bytewise.
///
/// Any normalisation (Unicode, letter case) is the embedder's, before the name comes here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "serde_bytes::ByteBuf", into = "serde_bytes::ByteBuf")]
pub struct AccountName(Box<[u8]>);

impl AccountName {
    /// The greatest length of a name in bytes.
    pub const MAX_LEN: usize = 255;

    /// Takes a name.
    ///
    /// # Errors
    /// [`CallerFault::AccountNameLength`] if it is empty or longer than 255 bytes.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, Error> {
        let name = name.as_ref();
        if name.is_empty() || name.len() > Self::MAX_LEN {
            return Err(CallerFault::AccountNameLength { len: name.len(), max: Self::MAX_LEN }.into());
        }
        Ok(Self(name.into()))
    }

    /// The name's bytes, 1 to 255.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for AccountName {
    /// The bytes, those that are not printable ASCII escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountName(\"{self}\")")
    }
}

impl TryFrom<serde_bytes::ByteBuf> for AccountName {
    type Error = Error;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Error> {
        Self::new(bytes)
    }
}

impl From<AccountName> for serde_bytes::ByteBuf {
    fn from(name: AccountName) -> Self {
        Self::from(Vec::from(name.0))
    }
}

/// The greatest length of a server identity in bytes.
const MAX_SERVER_IDENTITY: usize = 255;

/// Checks a server identity, for both sides.
pub(crate) fn check_server_identity(identity: &[u8]) -> Result<Box<[u8]>, Error> {
    let max = MAX_SERVER_IDENTITY;
    if identity.is_empty() || identity.len() > max {
        return Err(CallerFault::ServerIdentityLength { len: identity.len(), max }.into());
    }
    Ok(identity.into())
}

/// Milliseconds since the Unix epoch, as the embedder's clock says. The crate reads no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This time and `duration` after it; the last representable time if that is too late to be one.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// Whole milliseconds of a duration, at most `u64::MAX`.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn account_names_have_1_to_255_bytes() {
        assert!(AccountName::new("").is_err());
        assert!(AccountName::new([b'a'; 256]).is_err());
        assert_eq!(AccountName::new([b'a'; 255]).map(|name| name.as_bytes().len()), Ok(255));
    }

    #[test]
    fn ids_print_as_lower_case_hex_and_read_back_from_their_own_length_alone() {
        assert_eq!(format!("{}", KeyId::from_bytes([0xab; 16])), "ab".repeat(16));
        for text in ["ab".repeat(16), "AB".repeat(16)] {
            assert_eq!(text.parse(), Ok(KeyId::from_bytes([0xab; 16])));
        }
        for text in ["", &"ab".repeat(15), &"ab".repeat(17), &"a".repeat(31), &"xy".repeat(16)] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_saturate() {
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(end.after(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_millis(1).after(Duration::MAX), end);
    }
}
