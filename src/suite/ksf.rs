//! Key stretching: Argon2id (RFC 9106) with parameters that are values.

use alloc::vec::Vec;
use core::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{CallerFault, Error};
use crate::secret::{CURVES, scrubbed};

/// The cost of one password guess: an Argon2id profile (RFC 9106).
///
/// The client's policy chooses it, never the server; it travels in the login request and is bound into the
/// login. A named profile never changes: an account registered under one logs in under that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KsfProfile {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl KsfProfile {
    /// 64 MiB, 3 passes, 4 lanes: RFC 9106's second recommended option, and the default.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// 19 MiB, 2 passes, 1 lane: nothing weaker is taken.
    pub const FLOOR: Self = Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 };
    /// 2 GiB, 16 passes, 16 lanes: nothing heavier is taken, so that a typing error doesn't lock anybody out.
    pub const CEILING: Self = Self { memory_kib: 2 * 1024 * 1024, passes: 16, lanes: 16 };
    /// 64 KiB, 1 pass, 1 lane, far below the floor: for tests, where a password protects nothing.
    #[cfg(any(test, feature = "testing"))]
    pub const CHEAP_FOR_TESTS: Self = Self { memory_kib: 64, passes: 1, lanes: 1 };

    /// A profile of `memory_kib` KiB, `passes` passes and `lanes` lanes, each between [`Self::FLOOR`]
    /// and [`Self::CEILING`].
    ///
    /// # Errors
    /// [`CallerFault::KsfBelowFloor`] or [`CallerFault::KsfAboveCeiling`], with the bound.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, Error> {
        let (floor, ceiling) = (Self::FLOOR, Self::CEILING);
        if memory_kib < floor.memory_kib || passes < floor.passes || lanes < floor.lanes {
            return Err(Error::Caller(CallerFault::KsfBelowFloor { floor }));
        }
        if memory_kib > ceiling.memory_kib || passes > ceiling.passes || lanes > ceiling.lanes {
            return Err(Error::Caller(CallerFault::KsfAboveCeiling { ceiling }));
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// Checks a profile that may not have come from [`KsfProfile::new`].
    pub(crate) fn check(self) -> Result<(), Error> {
        #[cfg(any(test, feature = "testing"))]
        if self == Self::CHEAP_FOR_TESTS {
            return Ok(());
        }
        Self::new(self.memory_kib, self.passes, self.lanes).map(|_| ())
    }

    /// Memory in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// Passes over the memory.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }

    /// Lanes: computed one after the other, or with the feature `parallel` on as many threads as there are.
    #[must_use]
    pub const fn lanes(self) -> u32 {
        self.lanes
    }

    /// The three parameters, big-endian: what the OPAQUE context holds of them.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        for (chunk, value) in bytes.chunks_exact_mut(4).zip([self.memory_kib, self.passes, self.lanes]) {
            chunk.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }
}

impl Default for KsfProfile {
    fn default() -> Self {
        Self::RECOMMENDED
    }
}

impl fmt::Display for KsfProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Argon2id with {} KiB, {} passes, {} lanes", self.memory_kib, self.passes, self.lanes)
    }
}

impl opaque_ke::ksf::Ksf for KsfProfile {
    /// RFC 9807, section 7: Argon2id, version 0x13, a salt of 16 zero bytes, an output as long as the hash.
    fn hash<L: ArrayLength<u8>>(&self, input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        let input = Zeroizing::new(input);
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, None).map_err(|_| InternalError::KsfError)?;
        // The memory is a function of the password: it is wiped before it is freed, and running out of it is an error.
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(params.block_count()).map_err(|_| InternalError::KsfError)?;
        memory.resize(params.block_count(), Block::new());
        let mut output = GenericArray::default();
        // With the feature `parallel`, what rayon's threads leave on their own stacks isn't overwritten: words of that memory.
        scrubbed::<CURVES, _>(|| {
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into_with_memory(&input, &[0; 16], &mut output, memory.as_mut_slice())
                .map_err(|_| InternalError::KsfError)
        })?;
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opaque_ke::generic_array::typenum::U64;

    #[test]
    fn profiles_outside_of_the_bounds_are_refused_with_the_bound() {
        let floor = Err(CallerFault::KsfBelowFloor { floor: KsfProfile::FLOOR }.into());
        let ceiling = Err(CallerFault::KsfAboveCeiling { ceiling: KsfProfile::CEILING }.into());
        assert_eq!(KsfProfile::new(19 * 1024 - 1, 2, 1), floor);
        assert_eq!(KsfProfile::new(19 * 1024, 1, 1), floor);
        assert_eq!(KsfProfile::new(19 * 1024, 2, 0), floor);
        assert_eq!(KsfProfile::new(2 * 1024 * 1024 + 1, 2, 1), ceiling);
        assert_eq!(KsfProfile::new(19 * 1024, 17, 1), ceiling);
        assert_eq!(KsfProfile::new(19 * 1024, 2, 17), ceiling);
        assert_eq!(KsfProfile::new(19 * 1024, 2, 1), Ok(KsfProfile::FLOOR));
        assert_eq!(KsfProfile::new(2 * 1024 * 1024, 16, 16), Ok(KsfProfile::CEILING));
        assert_eq!(KsfProfile::new(64 * 1024, 3, 4), Ok(KsfProfile::default()));
    }

    /// What the reference implementation (libargon2 20190702, through argon2-cffi 25.1) gives, lanes in parallel or not.
    #[test]
    fn the_output_is_that_of_the_reference_implementation() {
        use opaque_ke::ksf::Ksf;
        let hash = |profile: KsfProfile| profile.hash(GenericArray::<u8, U64>::from([7; 64])).unwrap();
        let expected = base16ct::lower::decode_vec(
            "76d8dd74f16fa6c7c8215c9b899e4886077e170343e4ec0df473c5659228f563\
             dc4e810421e3fe9a5488361946bc9884042f413916c9802df59647e23494fbd9",
        );
        assert_eq!(hash(KsfProfile::new(19 * 1024, 2, 4).unwrap()).to_vec(), expected.unwrap());
    }
}
