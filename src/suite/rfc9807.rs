//! The vectors of RFC 9807, appendix C, for ristretto255-SHA512: the same group, hash and key exchange as [`Suite`]'s, and
//! the same calls of `opaque-ke`, with the RFC's identity in place of Argon2id.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use opaque_ke::ksf::Identity;
use opaque_ke::rand::{CryptoRng, Error as RandError, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialFinalization, CredentialRequest, CredentialResponse, Identifiers, RegistrationRequest,
    RegistrationResponse, RegistrationUpload, ServerLogin, ServerLoginParameters, ServerRegistration, ServerSetup,
};
use serde::Deserialize;

use super::opaque::Suite;
use super::published::{Hex, read};

/// [`Suite`] but for the KSF.
struct Rfc;

impl CipherSuite for Rfc {
    type OprfCs = <Suite as CipherSuite>::OprfCs;
    type KeyExchange = <Suite as CipherSuite>::KeyExchange;
    type Ksf = Identity;
}

const CONTEXT: &[u8] = b"OPAQUE-POC";

/// Gives what it was told to, draw by draw, each of the length that is asked for.
struct Scripted(VecDeque<Vec<u8>>);

impl Scripted {
    fn new(draws: &[&[u8]]) -> Self {
        Self(draws.iter().map(|draw| draw.to_vec()).collect())
    }

    /// A scalar is drawn as 64 bytes, little-endian, and reduced.
    fn blind(blind: &Hex) -> Vec<u8> {
        [&blind.0[..], &[0; 32]].concat()
    }
}

impl RngCore for Scripted {
    fn next_u32(&mut self) -> u32 {
        panic!("only bytes are drawn")
    }
    fn next_u64(&mut self) -> u64 {
        panic!("only bytes are drawn")
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0.pop_front().unwrap());
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Scripted {}

/// A vector, by the RFC's names.
#[derive(Deserialize)]
struct Vector {
    client_identity: Option<Hex>,
    server_identity: Option<Hex>,
    oprf_seed: Hex,
    credential_identifier: Hex,
    masking_nonce: Hex,
    server_private_key: Hex,
    server_public_key: Hex,
    server_nonce: Hex,
    server_keyshare_seed: Hex,
    #[serde(rename = "KE1")]
    ke1: Hex,
    #[serde(rename = "KE2")]
    ke2: Hex,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Real(Box<Real>),
    /// What stands in for an account that doesn't exist.
    Fake {
        client_public_key: Hex,
        masking_key: Hex,
    },
}

#[derive(Deserialize)]
struct Real {
    password: Hex,
    envelope_nonce: Hex,
    client_nonce: Hex,
    client_keyshare_seed: Hex,
    blind_registration: Hex,
    blind_login: Hex,
    registration_request: Hex,
    registration_response: Hex,
    registration_upload: Hex,
    #[serde(rename = "KE3")]
    ke3: Hex,
    export_key: Hex,
    session_key: Hex,
}

impl Vector {
    fn identifiers(&self) -> Identifiers<'_> {
        Identifiers {
            client: self.client_identity.as_ref().map(|hex| hex.0.as_slice()),
            server: self.server_identity.as_ref().map(|hex| hex.0.as_slice()),
        }
    }

    /// The server's setup, with the public key of nobody.
    fn setup(&self, nobody: &[u8]) -> ServerSetup<Rfc> {
        let setup = [&self.oprf_seed.0, &self.server_private_key.0, nobody].concat();
        let setup = ServerSetup::deserialize(&setup).unwrap();
        assert_eq!(setup.keypair().public().serialize().as_slice(), self.server_public_key.0);
        setup
    }

    /// GenerateKE2. `first` is the masking key of an account that isn't there; 64 bytes that nobody uses otherwise.
    fn ke2(&self, setup: &ServerSetup<Rfc>, record: Option<ServerRegistration<Rfc>>, first: &[u8]) -> ServerLogin<Rfc> {
        let draws = [first, &self.masking_nonce.0, &self.server_keyshare_seed.0, &self.server_nonce.0];
        let request = CredentialRequest::deserialize(&self.ke1.0).unwrap();
        let parameters = ServerLoginParameters { context: Some(CONTEXT), identifiers: self.identifiers() };
        let (mut draws, identifier) = (Scripted::new(&draws), &self.credential_identifier.0);
        let started = ServerLogin::start(&mut draws, setup, record, request, identifier, parameters).unwrap();
        assert_eq!(started.message.serialize().as_slice(), self.ke2.0);
        assert!(draws.0.is_empty());
        started.state
    }
}

impl Real {
    /// Section 5.2: the record, and the export_key.
    fn register(&self, vector: &Vector, setup: &ServerSetup<Rfc>) -> ServerRegistration<Rfc> {
        let draws = &mut Scripted::new(&[&Scripted::blind(&self.blind_registration), &self.envelope_nonce.0]);
        let started = ClientRegistration::<Rfc>::start(draws, &self.password.0).unwrap();
        assert_eq!(started.message.serialize().as_slice(), self.registration_request.0);
        let request = RegistrationRequest::deserialize(&self.registration_request.0).unwrap();
        let response = ServerRegistration::start(setup, request, &vector.credential_identifier.0).unwrap().message;
        assert_eq!(response.serialize().as_slice(), self.registration_response.0);
        let response = RegistrationResponse::deserialize(&self.registration_response.0).unwrap();
        let parameters = ClientRegistrationFinishParameters::new(vector.identifiers(), None);
        let finished = started.state.finish(draws, &self.password.0, response, parameters).unwrap();
        assert_eq!(finished.message.serialize().as_slice(), self.registration_upload.0);
        assert_eq!(finished.export_key.as_slice(), self.export_key.0);
        ServerRegistration::finish(RegistrationUpload::deserialize(&self.registration_upload.0).unwrap())
    }

    /// Section 6.2: KE1, KE2, KE3 and the session_key of both sides.
    fn log_in(&self, vector: &Vector, setup: &ServerSetup<Rfc>, record: ServerRegistration<Rfc>) {
        let blind = Scripted::blind(&self.blind_login);
        let draws = &mut Scripted::new(&[&blind, &self.client_keyshare_seed.0, &self.client_nonce.0]);
        let started = ClientLogin::<Rfc>::start(draws, &self.password.0).unwrap();
        assert_eq!(started.message.serialize().as_slice(), vector.ke1.0);
        let awaiting = vector.ke2(setup, Some(record), &[0; 64]);
        let response = CredentialResponse::deserialize(&vector.ke2.0).unwrap();
        let parameters = ClientLoginFinishParameters::new(Some(CONTEXT), vector.identifiers(), None);
        let finished = started.state.finish(draws, &self.password.0, response, parameters).unwrap();
        assert_eq!(finished.message.serialize().as_slice(), self.ke3.0);
        assert_eq!(finished.export_key.as_slice(), self.export_key.0);
        assert_eq!(finished.session_key.as_slice(), self.session_key.0);
        assert_eq!(finished.server_s_pk.serialize().as_slice(), vector.server_public_key.0);
        let ke3 = CredentialFinalization::deserialize(&self.ke3.0).unwrap();
        let session_key = awaiting.finish(ke3, ServerLoginParameters::default()).unwrap().session_key;
        assert_eq!(session_key.as_slice(), self.session_key.0);
    }
}

#[test]
fn registration_and_login_match_rfc_9807_with_and_without_identities_and_for_an_unknown_account() {
    let vectors: Vec<Vector> = read(include_str!("../../tests/vectors/published/rfc9807.json"));
    let (mut named, mut unnamed, mut fake) = (0, 0, 0);
    for vector in &vectors {
        match &vector.kind {
            Kind::Real(real) => {
                let setup = vector.setup(&vector.server_public_key.0);
                let record = real.register(vector, &setup);
                real.log_in(vector, &setup, record);
                *if vector.client_identity.is_some() { &mut named } else { &mut unnamed } += 1;
            }
            Kind::Fake { client_public_key, masking_key } => {
                drop(vector.ke2(&vector.setup(&client_public_key.0), None, &masking_key.0));
                fake += 1;
            }
        }
    }
    assert_eq!((named, unnamed, fake), (1, 1, 1));
}
