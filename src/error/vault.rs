//! What a client finds wrong with the vault that the server shows.

use core::fmt;

/// How the vault that the server shows differs from the one that the person's devices left there. Each is the server's
/// doing, its database's or its backup's: no crash and no race of honest devices looks like this. (The pin of an account that
/// was deleted is another vault's, whoever registers the name again: forget it with the account.)
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaultFault {
    /// A vault head is not one that this vault's devices have sealed for its place, or the chain misses one.
    DamagedHead {
        /// The epoch that should have come.
        epoch: u64,
    },
    /// The server's newest head is older than one that is known: the vault was put back.
    RolledBack {
        /// The epoch that is known.
        known: u64,
        /// The epoch that was shown.
        shown: u64,
    },
    /// Another head stands in the place of one that is known: two devices were shown different histories.
    Forked {
        /// The epoch of the head that is another.
        epoch: u64,
    },
    /// The account's record is not the one that its newest head was sealed with: an old password's, perhaps.
    Credential,
    /// There are more or fewer secrets than there should be.
    Count {
        /// As many as the head counts.
        expected: u64,
        /// As many as were listed.
        listed: u64,
    },
    /// There are as many secrets as there should be, but not the same ones.
    Digest,
    /// The server says that these secrets were stored before, but no head since they were made took them up.
    NotStored,
}

impl fmt::Display for VaultFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedHead { epoch } => write!(f, "vault head {epoch} is missing or not this vault's"),
            Self::RolledBack { known, shown } => {
                write!(f, "the vault was put back to epoch {shown}; epoch {known} is known")
            }
            Self::Forked { epoch } => write!(f, "another vault head than the known one stands at epoch {epoch}"),
            Self::Credential => f.write_str("the account's record is not the one of the newest vault head"),
            Self::Count { expected, listed } => {
                write!(f, "{listed} secrets are listed where there should be {expected}")
            }
            Self::Digest => f.write_str("other secrets are listed than there should be"),
            Self::NotStored => f.write_str("the secrets are said to be stored, but no vault head has taken them up"),
        }
    }
}
