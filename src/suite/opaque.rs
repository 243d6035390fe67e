//! OPAQUE (RFC 9807) through `opaque-ke`: ristretto255-SHA512, 3DH, Argon2id.
//!
//! Bytes in, bytes out: every message has an exact length (opaque-ke's own decoders ignore trailing bytes),
//! every point and scalar is validated by the decoder, and no type of `opaque-ke` leaves this file. Its
//! `ServerLogin` prints the session key in `Debug`, so nothing here derives `Debug`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use opaque_ke::errors::ProtocolError;
use opaque_ke::rand::{CryptoRng, Error as RandError, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialFinalization, CredentialRequest, CredentialResponse, Identifiers, RegistrationRequest,
    RegistrationResponse, RegistrationUpload, Ristretto255, ServerLogin, ServerLoginParameters, ServerRegistration,
    TripleDh,
};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;
use zeroize::Zeroizing;

use super::{Draw, KsfProfile, SUITE, expand, info, label};
use crate::error::{CallerFault, Error, PeerFault};
use crate::id::{AccountName, CredentialId, ServerKey};
use crate::secret::{CURVES, Key, Secret, SecretBytes, scrubbed};

pub(super) struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = KsfProfile;
}

/// An OPAQUE message: exactly `N` bytes.
///
/// `Debug` shows its length alone: an upload holds the masking key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpaqueMessage<const N: usize>(#[serde(with = "BigArray")] [u8; N]);

impl<const N: usize> OpaqueMessage<N> {
    /// Takes the message's bytes, which are validated where they are used.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The message's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    fn copy(bytes: &[u8]) -> Result<Box<Self>, Error> {
        let bytes = bytes.try_into().map_err(|_| PeerFault::InvalidElement)?;
        Ok(Box::new(Self(bytes)))
    }
}

impl<const N: usize> fmt::Debug for OpaqueMessage<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpaqueMessage({N} bytes)")
    }
}

/// RFC 9807, section 5.1: the blinded password.
pub(crate) type Blinded = OpaqueMessage<32>;
/// RFC 9807, section 5.1: the evaluated element and the server's public key.
pub(crate) type Evaluated = OpaqueMessage<64>;
/// RFC 9807, section 5.1: the client's public key, masking key and envelope.
pub(crate) type Upload = OpaqueMessage<192>;
/// RFC 9807, section 6.1: the first login message.
pub(crate) type Ke1 = OpaqueMessage<96>;
/// RFC 9807, section 6.1: the second.
pub(crate) type Ke2 = OpaqueMessage<320>;
/// RFC 9807, section 6.1: the third.
pub(crate) type Ke3 = OpaqueMessage<64>;

/// `export_key`, `session_key`: 64 bytes.
pub(crate) type LongKey = Secret<[u8; 64]>;

/// Who speaks with whom: bound into the password input and into OPAQUE's identifiers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) account: &'a AccountName,
    pub(crate) server: &'a [u8],
}

impl<'a> Identity<'a> {
    fn identifiers(self) -> Identifiers<'a> {
        Identifiers { client: Some(self.account.as_bytes()), server: Some(self.server) }
    }

    /// OPAQUE's password input: `u16 length ‖ account name ‖ u16 length ‖ server identity ‖ password`
    /// (RFC 9807 advises to bind them here too). The lengths are bounded by the types that hold them.
    pub(crate) fn password_input(self, password: &[u8]) -> SecretBytes {
        let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let account = self.account.as_bytes();
        SecretBytes::concat(&[&length(account), account, &length(self.server), self.server, password])
    }
}

/// OPAQUE's context: version, suite and KSF profile.
fn context(profile: KsfProfile) -> Result<impl Deref<Target = [u8]>, Error> {
    info(label::OPAQUE_CONTEXT, &[SUITE, &profile.to_bytes()]).ok_or(PeerFault::InvalidElement.into())
}

/// Bytes that don't decode, whatever the reason.
fn invalid<E>(_: E) -> Error {
    PeerFault::InvalidElement.into()
}

/// A step of the client's that failed: memory for the KSF is the caller's matter, the rest is the peer's, and says this.
fn failed(fault: PeerFault) -> impl FnOnce(ProtocolError) -> Error {
    |error| match error {
        ProtocolError::LibraryError(opaque_ke::errors::InternalError::KsfError) => CallerFault::KsfFailed.into(),
        _ => fault.into(),
    }
}

/// Moves a key that `opaque-ke` returned inline to where it is wiped, and wipes it where it was.
fn long_key(bytes: impl AsRef<[u8]> + zeroize::Zeroize) -> Result<LongKey, Error> {
    let bytes = Zeroizing::new(bytes);
    LongKey::try_write(|key| {
        let bytes: &[u8; 64] = (*bytes).as_ref().try_into().map_err(invalid)?;
        key.copy_from_slice(bytes);
        Ok(())
    })
}

fn server_key(bytes: &[u8]) -> Result<ServerKey, Error> {
    Ok(ServerKey::from_bytes(bytes.try_into().map_err(invalid)?))
}

/// A client between its registration request and the response.
pub(crate) struct Registration {
    state: Box<ClientRegistration<Suite>>,
    input: Arc<SecretBytes>,
}

/// What the client's side of a registration ends with.
pub(crate) struct RegistrationResult {
    pub(crate) upload: Box<Upload>,
    pub(crate) export_key: LongKey,
    pub(crate) server_key: ServerKey,
}

impl Registration {
    /// RFC 9807, section 5.2.1: `CreateRegistrationRequest`.
    pub(crate) fn start(draw: &mut Draw, input: Arc<SecretBytes>) -> Result<(Self, Box<Blinded>), Error> {
        scrubbed::<CURVES, _>(|| {
            let started =
                ClientRegistration::<Suite>::start(draw, input.expose()).map_err(failed(PeerFault::InvalidElement))?;
            let blinded = OpaqueMessage::copy(&started.message.serialize())?;
            Ok((Self { state: Box::new(started.state), input }, blinded))
        })
    }

    /// RFC 9807, section 5.2.3: `FinalizeRegistrationRequest`. Runs Argon2.
    pub(crate) fn finish(
        &self,
        draw: &mut Draw,
        response: &Evaluated,
        identity: Identity<'_>,
        profile: KsfProfile,
    ) -> Result<RegistrationResult, Error> {
        scrubbed::<CURVES, _>(|| {
            let response = RegistrationResponse::<Suite>::deserialize(&response.0).map_err(invalid)?;
            let parameters = ClientRegistrationFinishParameters::new(identity.identifiers(), Some(&profile));
            let result = self
                .state
                .as_ref()
                .clone()
                .finish(draw, self.input.expose(), response, parameters)
                .map_err(failed(PeerFault::InvalidElement))?;
            Ok(RegistrationResult {
                export_key: long_key(result.export_key)?,
                upload: OpaqueMessage::copy(&result.message.serialize())?,
                server_key: server_key(&result.server_s_pk.serialize())?,
            })
        })
    }
}

/// A client between KE1 and KE2.
pub(crate) struct Login {
    state: Box<ClientLogin<Suite>>,
    input: Arc<SecretBytes>,
}

/// What the client's side of a login ends with, once the server has proved itself.
pub(crate) struct LoginResult {
    pub(crate) ke3: Box<Ke3>,
    pub(crate) export_key: LongKey,
    pub(crate) session_key: LongKey,
    pub(crate) server_key: ServerKey,
}

impl Login {
    /// RFC 9807, section 6.2.1: `GenerateKE1`.
    pub(crate) fn start(draw: &mut Draw, input: Arc<SecretBytes>) -> Result<(Self, Box<Ke1>), Error> {
        scrubbed::<CURVES, _>(|| {
            let started = ClientLogin::<Suite>::start(draw, input.expose()).map_err(failed(PeerFault::LoginFailed))?;
            let ke1 = OpaqueMessage::copy(&started.message.serialize())?;
            Ok((Self { state: Box::new(started.state), input }, ke1))
        })
    }

    /// RFC 9807, section 6.2.3: `GenerateKE3`, which verifies the server's MAC first. Runs Argon2.
    pub(crate) fn finish(
        &self,
        draw: &mut Draw,
        ke2: &Ke2,
        identity: Identity<'_>,
        profile: KsfProfile,
    ) -> Result<LoginResult, Error> {
        scrubbed::<CURVES, _>(|| {
            let response = CredentialResponse::<Suite>::deserialize(&ke2.0).map_err(invalid)?;
            let context = context(profile)?;
            let parameters = ClientLoginFinishParameters::new(Some(&context), identity.identifiers(), Some(&profile));
            let result = self
                .state
                .as_ref()
                .clone()
                .finish(draw, self.input.expose(), response, parameters)
                .map_err(failed(PeerFault::LoginFailed))?;
            Ok(LoginResult {
                ke3: OpaqueMessage::copy(&result.message.serialize())?,
                export_key: long_key(result.export_key)?,
                session_key: long_key(result.session_key)?,
                server_key: server_key(&result.server_s_pk.serialize())?,
            })
        })
    }

    /// The password input, for the next attempt.
    pub(crate) fn input(&self) -> Arc<SecretBytes> {
        Arc::clone(&self.input)
    }
}

/// The server's long-term OPAQUE secrets: OPRF seed (64 bytes), private key (32), and a public key that
/// belongs to nobody, for accounts that don't exist (32).
pub(crate) struct Setup(Box<opaque_ke::ServerSetup<Suite>>);

impl Setup {
    pub(crate) const LEN: usize = 128;

    pub(crate) fn generate(draw: &mut Draw) -> Self {
        scrubbed::<CURVES, _>(|| Self(Box::new(opaque_ke::ServerSetup::new(draw))))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != Self::LEN {
            return Err(CallerFault::DamagedValue("server setup").into());
        }
        let damaged = CallerFault::DamagedValue("server setup");
        scrubbed::<CURVES, _>(|| Ok(Self(Box::new(opaque_ke::ServerSetup::deserialize(bytes).map_err(|_| damaged)?))))
    }

    pub(crate) fn to_bytes(&self) -> SecretBytes {
        scrubbed::<CURVES, _>(|| SecretBytes::concat(&[Zeroizing::new(self.0.serialize()).as_slice()]))
    }

    pub(crate) fn server_key(&self) -> Result<ServerKey, Error> {
        server_key(&self.0.keypair().public().serialize())
    }

    /// RFC 9807, section 5.2.2: `CreateRegistrationResponse`.
    pub(crate) fn evaluate(&self, blinded: &Blinded, credential: &CredentialId) -> Result<Box<Evaluated>, Error> {
        scrubbed::<CURVES, _>(|| {
            let request = RegistrationRequest::<Suite>::deserialize(&blinded.0).map_err(invalid)?;
            let started =
                ServerRegistration::<Suite>::start(&self.0, request, credential.as_bytes()).map_err(invalid)?;
            OpaqueMessage::copy(&started.message.serialize())
        })
    }

    /// The upload that stands in for a missing account: the same for the life of the setup, decoded like any
    /// other. Nobody has its private key, and its masking key is as secret as the setup.
    pub(crate) fn dummy_upload(&self) -> Result<Box<Upload>, Error> {
        let bytes = self.to_bytes();
        let (seed, public_key) = bytes.expose().split_at_checked(96).ok_or(PeerFault::InvalidElement)?;
        let rest = Secret::<[u8; 160]>::try_write(|rest| expand(seed, label::DUMMY_RECORD, &[], rest))?;
        OpaqueMessage::copy(SecretBytes::concat(&[public_key, rest.expose()]).expose())
    }

    /// RFC 9807, section 6.2.2: `GenerateKE2`.
    pub(crate) fn start_login(
        &self,
        draw: &mut Draw,
        upload: &Upload,
        CheckedKe1(ke1): CheckedKe1,
        credential: &CredentialId,
        identity: Identity<'_>,
        profile: KsfProfile,
    ) -> Result<(AwaitedLogin, Box<Ke2>), Error> {
        scrubbed::<CURVES, _>(|| {
            let record = ServerRegistration::<Suite>::deserialize(&upload.0).map_err(invalid)?;
            let context = context(profile)?;
            let parameters = ServerLoginParameters { context: Some(&context), identifiers: identity.identifiers() };
            let started = ServerLogin::start(draw, &self.0, Some(record), *ke1, credential.as_bytes(), parameters)
                .map_err(invalid)?;
            let ke2 = OpaqueMessage::copy(&started.message.serialize())?;
            Ok((AwaitedLogin(Box::new(started.state)), ke2))
        })
    }
}

/// Checks an upload's points before it is stored.
pub(crate) fn check_upload(upload: &Upload) -> Result<(), Error> {
    RegistrationUpload::<Suite>::deserialize(&upload.0).map_err(invalid)?;
    Ok(())
}

/// A KE1 whose points are valid.
pub(crate) struct CheckedKe1(Box<CredentialRequest<Suite>>);

impl CheckedKe1 {
    pub(crate) fn decode(ke1: &Ke1) -> Result<Self, Error> {
        Ok(Self(Box::new(CredentialRequest::deserialize(&ke1.0).map_err(invalid)?)))
    }
}

/// The server between KE2 and KE3.
pub(crate) struct AwaitedLogin(Box<ServerLogin<Suite>>);

impl AwaitedLogin {
    /// RFC 9807, section 6.2.4: `ServerFinish`. Gives the session key, if the client knew the password.
    pub(crate) fn finish(&self, ke3: &Ke3) -> Result<LongKey, Error> {
        scrubbed::<CURVES, _>(|| {
            let finalization = CredentialFinalization::<Suite>::deserialize(&ke3.0).map_err(invalid)?;
            let result = self
                .0
                .as_ref()
                .clone()
                .finish(finalization, ServerLoginParameters::default())
                .map_err(|_| PeerFault::WrongKe3)?;
            long_key(result.session_key)
        })
    }
}

// A login between KE2 and KE3 goes from node to node inside of a sealed session.
impl Serialize for AwaitedLogin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = scrubbed::<CURVES, _>(|| SecretBytes::concat(&[Zeroizing::new(self.0.serialize()).as_slice()]));
        serializer.serialize_bytes(bytes.expose())
    }
}

impl<'de> Deserialize<'de> for AwaitedLogin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let login = scrubbed::<CURVES, _>(|| ServerLogin::deserialize(bytes).map(Box::new));
        Ok(Self(login.map_err(serde::de::Error::custom)?))
    }
}

// `opaque-ke` takes its randomness through the rand_core of its generation; the step's draw serves it.
impl RngCore for Draw {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Draw {}

/// The seed of a client operation, drawn from the embedder's generator where the operation starts.
pub(crate) fn seed(rng: &mut impl rand_core::CryptoRng) -> Key {
    Key::write(|seed| rng.fill_bytes(seed))
}
