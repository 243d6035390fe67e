//! A client written from `docs/protocol.md` alone, with a vault key of its own choosing: what a device of the person's own can do
//! that has every key and doesn't keep to the protocol.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keystow::*;
use opaque_ke::rand::{CryptoRng, Error as RandError, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, Identifiers, RegistrationResponse, Ristretto255, TripleDh,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::support::{IDENTITY, World, client, error};

pub const PROFILE: KsfProfile = KsfProfile::CHEAP_FOR_TESTS;

struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = KsfProfile;
}

/// The device's generator, as `opaque-ke` takes it.
pub struct Draw(pub ChaCha20Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }
}

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

/// Section 7: `info`.
fn info(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let label = format!("keystow v1 {label}");
    let mut info = vec![u8::try_from(label.len()).unwrap()];
    info.extend(label.bytes());
    for field in fields {
        info.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
        info.extend(*field);
    }
    info
}

/// Section 7: `Expand`, to a key.
pub fn expand(prk: &[u8], label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(&info(label, fields), &mut key).unwrap();
    key
}

fn seal(key: [u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    Aes256GcmSiv::new(&key.into()).encrypt(&Nonce::from(nonce), Payload { msg, aad }).unwrap()
}

/// Section 10: the password input.
pub fn password_input(account: &str, password: &str) -> Vec<u8> {
    let length = |text: &str| u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length(account)[..], account.as_bytes(), &length(IDENTITY), IDENTITY.as_bytes(), password.as_bytes()].concat()
}

/// Section 10: OPAQUE's context.
pub fn opaque_context() -> Vec<u8> {
    let numbers = [PROFILE.memory_kib(), PROFILE.passes(), PROFILE.lanes()].map(u32::to_be_bytes).concat();
    info("opaque context", &[b"ristretto255-SHA512 3DH Argon2id HKDF-SHA-256 AES-256-GCM-SIV", &numbers])
}

pub fn identifiers(account: &str) -> Identifiers<'_> {
    Identifiers { client: Some(account.as_bytes()), server: Some(IDENTITY.as_bytes()) }
}

/// An account whose vault key the test knows.
pub struct Device {
    pub user_id: UserId,
    pub vault_key: [u8; 32],
    pub export_key: Vec<u8>,
    /// The head of epoch 0, as it was uploaded.
    pub first_head: SealedHead,
}

/// Section "Vault head": what a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadContents {
    pub prev: [u8; 32],
    pub count: u64,
    pub digest: [u8; 32],
    pub credential: [u8; 32],
}

impl Device {
    /// Sections 11 and 7: registers an account with this vault key.
    pub fn register(world: &mut World, account: &str, password: &str, vault_key: [u8; 32]) -> Self {
        let mut draw = Draw::new(0xdeca);
        let input = password_input(account, password);
        let started = ClientRegistration::<Suite>::start(&mut draw, &input).unwrap();
        let blinded = Box::new(OpaqueMessage::from_bytes(started.message.serialize().as_slice().try_into().unwrap()));
        let request = ClientMessage::RegistrationRequest { account: client(account).account().clone(), blinded };
        let response = world.send(&request).unwrap();
        let ServerMessage::RegistrationResponse { session_id, user_id, evaluated } = &response else {
            panic!("no registration response")
        };
        let evaluated = RegistrationResponse::deserialize(evaluated.as_bytes()).unwrap();
        let parameters = ClientRegistrationFinishParameters::new(identifiers(account), Some(&PROFILE));
        let finished = started.state.finish(&mut draw, &input, evaluated, parameters).unwrap();
        let upload: [u8; 192] = finished.message.serialize().as_slice().try_into().unwrap();
        let wrap_key = expand(&finished.export_key, "vault wrap", &[user_id.as_bytes()]);
        let wrap = seal(wrap_key, [0; 12], &[&[1], &user_id.as_bytes()[..]].concat(), &vault_key);
        let empty = HeadContents { prev: [0; 32], count: 0, digest: [0; 32], credential: credential_tag(&wrap) };
        let (session_id, user_id) = (*session_id, *user_id);
        let first_head = seal_head(&vault_key, user_id, 0, head_nonce(session_id, 1), empty);
        let transcript = transcript(&request, &response, &upload, &wrap, &first_head);
        let (upload, wrap) = (Box::new(OpaqueMessage::from_bytes(upload)), wrap.try_into().unwrap());
        let head = Box::new(first_head.clone());
        let upload = ClientMessage::RegistrationUpload { session_id, upload, wrap, head, transcript };
        assert!(matches!(world.send(&upload).unwrap(), ServerMessage::Registered { .. }));
        Self { user_id, vault_key, export_key: finished.export_key.to_vec(), first_head }
    }

    /// Section 9: a secret of the device's own choosing, under a header of its own choosing.
    pub fn seal(&self, header: Header, secret: &[u8]) -> SealedSecret {
        let aad = header.to_bytes();
        let ciphertext = seal(expand(&self.vault_key, "record", &[&aad]), [0; 12], &aad, secret);
        SealedSecret { header, ciphertext }
    }

    /// Section "Vault head": seals a head that says anything, under any number and nonce.
    pub fn seal_head(&self, epoch: u64, nonce: [u8; 12], contents: HeadContents) -> SealedHead {
        seal_head(&self.vault_key, self.user_id, epoch, nonce, contents)
    }

    /// The same backwards: what a head of this vault says, whoever sealed it.
    pub fn open_head(&self, head: &SealedHead) -> HeadContents {
        let bytes = head.as_bytes();
        let (epoch, nonce, sealed) = (&bytes[..8], <[u8; 12]>::try_from(&bytes[8..20]).unwrap(), &bytes[20..]);
        let key = expand(&self.vault_key, "vault head", &[]);
        let aad = &[&[1], &self.user_id.as_bytes()[..], epoch].concat();
        let contents =
            Aes256GcmSiv::new(&key.into()).decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad }).unwrap();
        assert_eq!(contents.len(), 104);
        let field = |from: usize| contents[from..from + 32].try_into().unwrap();
        let count = u64::from_be_bytes(contents[32..40].try_into().unwrap());
        HeadContents { prev: field(0), count, digest: field(40), credential: field(72) }
    }

    /// The digest of a set of secrets: the sum of an element for each.
    pub fn digest(&self, key_ids: &[KeyId]) -> [u8; 32] {
        let key = expand(&self.vault_key, "vault element", &[]);
        key_ids.iter().fold([0; 32], |digest, key_id| {
            let element = Hmac::<Sha256>::new_from_slice(&key).unwrap().chain_update(key_id.as_bytes()).finalize();
            sum(digest, element.into_bytes().into())
        })
    }

    /// The head after `before`, when these secrets come to it: the message is the session's number `sequence`.
    pub fn head_with(
        &self,
        before: &SealedHead,
        key_ids: &[KeyId],
        session_id: SessionId,
        sequence: u64,
    ) -> SealedHead {
        let HeadContents { count, digest, credential, .. } = self.open_head(before);
        let contents = HeadContents {
            prev: head_hash(before),
            count: count + u64::try_from(key_ids.len()).unwrap(),
            digest: sum(digest, self.digest(key_ids)),
            credential,
        };
        self.seal_head(before.epoch() + 1, head_nonce(session_id, sequence), contents)
    }
}

fn seal_head(key: &[u8; 32], user_id: UserId, epoch: u64, nonce: [u8; 12], contents: HeadContents) -> SealedHead {
    let HeadContents { prev, count, digest, credential } = contents;
    let (key, epoch) = (expand(key, "vault head", &[]), epoch.to_be_bytes());
    let contents = [&prev[..], &count.to_be_bytes(), &digest, &credential].concat();
    let sealed = seal(key, nonce, &[&[1], &user_id.as_bytes()[..], &epoch].concat(), &contents);
    SealedHead::from_bytes([&epoch[..], &nonce, &sealed].concat().try_into().unwrap())
}

/// The sum of two big-endian numbers modulo 2^256, a digit after the other.
fn sum(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    let (mut digits, mut carry) = ([0; 32], 0);
    for i in (0..32).rev() {
        [carry, digits[i]] = (u16::from(one[i]) + u16::from(other[i]) + u16::from(carry)).to_be_bytes();
    }
    digits
}

/// Section 8: a hash over what stands behind its label.
fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest([format!("keystow v1 {label}").as_bytes(), &parts.concat()].concat()).into()
}

/// What a head is known by.
pub fn head_hash(head: &SealedHead) -> [u8; 32] {
    hash("head", &[head.as_bytes()])
}

/// The nonce of the head that is sent under this number of this session.
pub fn head_nonce(session_id: SessionId, sequence: u64) -> [u8; 12] {
    hash("head nonce", &[session_id.as_bytes(), &sequence.to_be_bytes()])[..12].try_into().unwrap()
}

/// What a head knows an account's record by.
pub fn credential_tag(wrap: &[u8]) -> [u8; 32] {
    hash("credential tag", &[wrap])
}

/// Section 8: the registration transcript. Anyone who sees the messages can compute it.
pub fn transcript(
    request: &ClientMessage,
    response: &ServerMessage,
    upload: &[u8],
    wrap: &[u8],
    head: &SealedHead,
) -> [u8; 32] {
    let identity = Sha256::digest(IDENTITY);
    let request = Sha256::digest(request.encode().unwrap());
    let response = Sha256::digest(response.encode().unwrap());
    hash("registration transcript", &[&identity, &request, &response, upload, wrap, head.as_bytes()])
}

/// Section 9: a header's bytes.
pub fn header(user_id: UserId, kind: Kind, public: &[u8], binder: [u8; 32]) -> Header {
    let tag = match kind {
        Kind::Bytes(_) => 0,
        Kind::Secp256k1 => 1,
        Kind::Ed25519 => 2,
    };
    let len = kind.secret_len().to_be_bytes();
    let bytes = [&[1], &user_id.as_bytes()[..], &[tag], &len, &[0], &[0; 32], &[0, 0], public, &binder].concat();
    Header::from_bytes(&bytes).unwrap()
}

/// A session whose keys the test knows: any bytes can go into a frame.
pub struct Line {
    pub session_id: SessionId,
    session_key: Vec<u8>,
}

impl Line {
    /// Section 12: logs in.
    pub fn log_in(world: &mut World, account: &str, password: &str) -> Self {
        let mut draw = Draw::new(0xdecb);
        let input = password_input(account, password);
        let started = ClientLogin::<Suite>::start(&mut draw, &input).unwrap();
        let ke1 = Box::new(OpaqueMessage::from_bytes(started.message.serialize().as_slice().try_into().unwrap()));
        let account_name = client(account).account().clone();
        let request = ClientMessage::LoginRequest { account: account_name, profile: PROFILE, ke1 };
        let ServerMessage::LoginResponse { session_id, ke2 } = world.send(&request).unwrap() else { panic!("no KE2") };
        let context = opaque_context();
        let parameters = ClientLoginFinishParameters::new(Some(&context), identifiers(account), Some(&PROFILE));
        let ke2 = CredentialResponse::deserialize(ke2.as_bytes()).unwrap();
        let finished = started.state.finish(&mut draw, &input, ke2, parameters).unwrap();
        let ke3 = Box::new(OpaqueMessage::from_bytes(finished.message.serialize().as_slice().try_into().unwrap()));
        let welcome = world.send(&ClientMessage::LoginFinish { session_id, ke3 }).unwrap();
        assert!(matches!(welcome, ServerMessage::Frame(_)));
        Self { session_id, session_key: finished.session_key.to_vec() }
    }

    /// Section 6: a frame with any contents.
    pub fn frame(&self, sequence: u64, body: &[u8]) -> ClientMessage {
        let key = expand(&self.session_key, "client to server", &[]);
        let nonce = [[0; 4].as_slice(), &sequence.to_be_bytes()].concat().try_into().unwrap();
        let sealed = seal(key, nonce, &[&[1, 0], &sequence.to_be_bytes()[..]].concat(), body);
        ClientMessage::Frame(Frame { session_id: self.session_id, sequence, sealed })
    }

    /// Sends any contents that must be refused.
    pub fn refused(&self, world: &mut World, sequence: u64, body: &[u8]) -> Error {
        error(world.send(&self.frame(sequence, body)))
    }
}
