//! A vault's keys and heads, computed from `docs/protocol.md` alone: the crate's own client and key schedule are not asked.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use keystow::testing::{InMemoryServer, MemoryStore};
use keystow::*;
use opaque_ke::rand::{CryptoRng, Error as RandError, RngCore};
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, CredentialResponse, Identifiers, Ristretto255, TripleDh,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::run::{Inputs, hex};

/// What a vault's heads are made with, and each of them. Bytes are in lower-case hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vault {
    pub(crate) export_key: String,
    pub(crate) vault_key: String,
    pub(crate) head_key: String,
    pub(crate) element_key: String,
    /// The elements of the secrets, in the order in which they were stored.
    pub(crate) elements: Vec<String>,
    /// The heads, from epoch 0 on.
    pub(crate) heads: Vec<Head>,
}

/// One head: where the message stands that brought it, what it says, and what there is of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) session_id: String,
    pub(crate) sequence: u64,
    pub(crate) nonce: String,
    pub(crate) prev: String,
    pub(crate) count: u64,
    pub(crate) digest: String,
    pub(crate) credential_tag: String,
    pub(crate) sealed: String,
    pub(crate) record: String,
    pub(crate) pin: String,
    pub(crate) pin_text: String,
}

/// What is known of a head from outside: its message's place, the secrets that live with it, the account's wrap (none when
/// the vault is closed).
pub(crate) struct Step<'a> {
    pub(crate) session_id: SessionId,
    pub(crate) sequence: u64,
    pub(crate) live: &'a [KeyId],
    pub(crate) wrap: Option<&'a [u8]>,
}

struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = KsfProfile;
}

/// What a login draws is of no consequence for its export_key.
struct Sevens;

impl RngCore for Sevens {
    fn next_u32(&mut self) -> u32 {
        7
    }
    fn next_u64(&mut self) -> u64 {
        7
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandError> {
        bytes.fill(7);
        Ok(())
    }
}

impl CryptoRng for Sevens {}

/// Section 7: `info`.
fn info(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    let label = format!("keystow v1 {label}");
    let fields = fields.iter().map(|field| [&u16::try_from(field.len()).unwrap().to_be_bytes()[..], field].concat());
    [vec![u8::try_from(label.len()).unwrap()], label.into_bytes(), fields.collect::<Vec<_>>().concat()].concat()
}

fn expand(prk: &[u8], label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(&info(label, fields), &mut key).unwrap();
    key
}

/// Section 8: a hash over a label and what follows.
fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest([format!("keystow v1 {label}").as_bytes(), &parts.concat()].concat()).into()
}

/// Section "Vault head": the sum of two elements, big-endian numbers, modulo 2^256.
fn sum(one: [u8; 32], other: [u8; 32]) -> [u8; 32] {
    let halves = |number: [u8; 32]| {
        let (high, low) = number.split_at(16);
        [high, low].map(|half| u128::from_be_bytes(half.try_into().unwrap()))
    };
    let ([one_high, one_low], [other_high, other_low]) = (halves(one), halves(other));
    let (low, carry) = one_low.overflowing_add(other_low);
    let high = one_high.wrapping_add(other_high).wrapping_add(u128::from(carry));
    [high.to_be_bytes(), low.to_be_bytes()].concat().try_into().unwrap()
}

/// Sections 10 and 12: the export_key that a login under the cheap profile gives.
fn export_key(server: &mut InMemoryServer<MemoryStore>, inputs: &Inputs) -> Vec<u8> {
    let Inputs { account, server_identity, password, .. } = inputs;
    let len = |text: &str| u16::try_from(text.len()).unwrap().to_be_bytes();
    let (name, identity) = (account.as_bytes(), server_identity.as_bytes());
    let input = [&len(account)[..], name, &len(server_identity), identity, password.as_bytes()].concat();
    let started = ClientLogin::<Suite>::start(&mut Sevens, &input).unwrap();
    let ke1 = Box::new(OpaqueMessage::from_bytes(started.message.serialize().as_slice().try_into().unwrap()));
    let profile = KsfProfile::CHEAP_FOR_TESTS;
    let request = ClientMessage::LoginRequest { account: AccountName::new(account).unwrap(), profile, ke1 };
    let now = Timestamp::from_millis(inputs.now_millis + 1);
    let ServerMessage::LoginResponse { ke2, .. } = server.answer(request, now).unwrap() else { panic!("no KE2") };
    let numbers = [profile.memory_kib(), profile.passes(), profile.lanes()].map(u32::to_be_bytes).concat();
    let suite = b"ristretto255-SHA512 3DH Argon2id HKDF-SHA-256 AES-256-GCM-SIV";
    let context = info("opaque context", &[suite, &numbers]);
    let identifiers = Identifiers { client: Some(name), server: Some(identity) };
    let parameters = ClientLoginFinishParameters::new(Some(&context), identifiers, Some(&profile));
    let ke2 = CredentialResponse::deserialize(ke2.as_bytes()).unwrap();
    started.state.finish(&mut Sevens, &input, ke2, parameters).unwrap().export_key.to_vec()
}

/// Section 9: the vault key inside a wrap.
fn vault_key(export_key: &[u8], user_id: UserId, wrap: &[u8]) -> Vec<u8> {
    let key = expand(export_key, "vault wrap", &[user_id.as_bytes()]);
    let aad = &[&[1], &user_id.as_bytes()[..]].concat();
    Aes256GcmSiv::new(&key.into()).decrypt(&Nonce::from([0; 12]), Payload { msg: wrap, aad }).unwrap()
}

/// A pin's text: the hash, then the epoch without its leading zero bytes, in Bech32m (BIP 350) under `kspin`.
fn pin_text(epoch: u64, hash: &[u8; 32]) -> String {
    let epoch: Vec<u8> = epoch.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    bech32::encode::<bech32::Bech32m>(bech32::Hrp::parse("kspin").unwrap(), &[&hash[..], &epoch].concat()).unwrap()
}

impl Vault {
    /// Computes a vault from what its person knows and its server keeps. `stored` is every secret that it ever had, in
    /// order; `steps` are its heads, from the first on.
    pub(crate) fn compute(
        server: &mut InMemoryServer<MemoryStore>,
        inputs: &Inputs,
        user_id: UserId,
        stored: &[KeyId],
        steps: &[Step<'_>],
    ) -> Self {
        let export_key = export_key(server, inputs);
        let vault_key = vault_key(&export_key, user_id, steps[0].wrap.unwrap());
        let (head_key, element_key) = (expand(&vault_key, "vault head", &[]), expand(&vault_key, "vault element", &[]));
        let element = |key_id: &KeyId| -> [u8; 32] {
            let mac = Hmac::<Sha256>::new_from_slice(&element_key).unwrap();
            mac.chain_update(key_id.as_bytes()).finalize().into_bytes().into()
        };
        let (mut heads, mut prev) = (Vec::new(), [0; 32]);
        for (epoch, Step { session_id, sequence, live, wrap }) in (0u64..).zip(steps) {
            let nonce = &hash("head nonce", &[session_id.as_bytes(), &sequence.to_be_bytes()])[..12];
            let (count, digest) = (live.len(), live.iter().map(element).fold([0; 32], sum));
            let tag = wrap.map_or([0; 32], |wrap| hash("credential tag", &[wrap]));
            let count = u64::try_from(count).unwrap();
            let says = [&prev[..], &count.to_be_bytes(), &digest, &tag].concat();
            let aad = &[&[1], &user_id.as_bytes()[..], &epoch.to_be_bytes()].concat();
            let (cipher, msg) = (Aes256GcmSiv::new(&head_key.into()), says.as_slice());
            let sealed = cipher.encrypt(&Nonce::try_from(nonce).unwrap(), Payload { msg, aad }).unwrap();
            let head = [&epoch.to_be_bytes(), nonce, &sealed].concat();
            let known_by = hash("head", &[&head]);
            heads.push(Head {
                session_id: session_id.to_string(),
                sequence: *sequence,
                nonce: hex(nonce),
                prev: hex(&prev),
                count,
                digest: hex(&digest),
                credential_tag: hex(&tag),
                record: hex(&[&[1], &head[..]].concat()),
                sealed: hex(&head),
                pin: hex(&[&epoch.to_be_bytes()[..], &known_by].concat()),
                pin_text: pin_text(epoch, &known_by),
            });
            prev = known_by;
        }
        Self {
            export_key: hex(&export_key),
            vault_key: hex(&vault_key),
            head_key: hex(&head_key),
            element_key: hex(&element_key),
            elements: stored.iter().map(|key_id| hex(&element(key_id))).collect(),
            heads,
        }
    }
}
