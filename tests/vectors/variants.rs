//! The enums of the wire, their variants in the order of their numbers: none can be added without a vector.

use keystow::operation::{Reply, Request, change_password};
use keystow::{Action, AuditAbout, ClientMessage, Kind, Refusal, ServerMessage};

pub(crate) trait Numbered {
    const NAMES: &'static [&'static str];
    fn variant(&self) -> &'static str;
}

macro_rules! numbered {
    ($($type:ty: $($variant:ident)*;)*) => {
        $(impl Numbered for $type {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];
            // Without a wildcard: a new variant doesn't compile until it stands here, and then it needs a vector.
            fn variant(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($variant),)*
                }
            }
        })*
    };
}

numbered! {
    ClientMessage: RegistrationRequest RegistrationUpload LoginRequest LoginFinish Frame;
    ServerMessage: RegistrationResponse Registered LoginResponse Refused Frame;
    Request: Generate Store Retrieve List Delete ChangePassword Audit Status LogOut DeleteAccount Heads;
    Reply: Refused Welcome Generate Store Retrieve List Delete ChangePassword Audit Status LogOut DeleteAccount Heads;
    Refusal: Denied NameTaken TryAgainAt SessionEnded KeyIdTaken NotFound TooLarge AlreadyDeleted LoginTooOld HeadMoved;
    Action: Register LogIn Store Retrieve List Delete ChangePassword DeleteAccount;
    Kind: Bytes Secp256k1 Ed25519;
    AuditAbout: All Account Secrets;
    change_password::Request: Start Finish;
    change_password::Reply: Evaluated Changed;
}

/// Every variant is among the values, and has the number of its place. `number` is the byte that stands for it.
pub(crate) fn assert_complete<T: Numbered>(values: &[(&T, u8)]) {
    for (number, name) in (0u8..).zip(T::NAMES) {
        let found: Vec<_> = values.iter().filter(|(value, _)| value.variant() == *name).collect();
        assert!(!found.is_empty(), "{name} has no vector");
        assert!(found.iter().all(|(_, encoded)| *encoded == number), "{name} has another number than {number}");
    }
}
