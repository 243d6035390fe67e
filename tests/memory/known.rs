//! The secrets of a run, computed again from its seeds and its traffic by the protocol's page: the crate isn't asked.

use std::cell::RefCell;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use keystow::operation::{Reply, change_password};
use keystow::testing::MemoryStore;
use keystow::*;
use opaque_ke::errors::InternalError;
use opaque_ke::generic_array::{ArrayLength, GenericArray};
use opaque_ke::ksf::Ksf;
use opaque_ke::{
    CipherSuite, ClientLogin, ClientLoginFinishParameters, ClientRegistration, ClientRegistrationFinishParameters,
    CredentialResponse, RegistrationResponse, Ristretto255, TripleDh,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::flows::FLEET_KEY;
use super::hostile::device::{Device, Draw, PROFILE, expand, identifiers, opaque_context, password_input};
use super::support::rng;

/// Names and bytes of what must be wiped.
pub(crate) type Secrets = Vec<(&'static str, Vec<u8>)>;

/// The next bytes that a generator will give.
pub(crate) fn next_draw<const N: usize>(rng: &ChaCha20Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.clone().fill_bytes(&mut bytes);
    bytes
}

/// What a server has from the start.
pub(crate) fn setup() -> Secrets {
    let setup = ServerSetup::generate(&mut rng(7)).unwrap().to_bytes();
    // Version byte, OPRF seed, private key; what follows is a public key.
    let (oprf_seed, key) = (setup.expose()[1..65].to_vec(), setup.expose()[65..97].to_vec());
    vec![
        ("setup's seed", next_draw::<32>(&rng(7)).to_vec()),
        ("fleet key", FLEET_KEY.to_vec()),
        ("OPRF seed", oprf_seed),
        ("server's private key", key),
    ]
}

/// Section "Randomness": what one step draws.
fn draw(seed: &[u8; 32], step: &[u8], known: &mut Secrets) -> Draw {
    let key = expand(seed, "draw", &[step]);
    known.push(("key of a draw", key.to_vec()));
    Draw(ChaCha20Rng::from_seed(key))
}

/// The same for a server's session and one of its requests: what the request is recognised by is what the step is called by.
pub(crate) fn server_draw(seed: &[u8; 32], message: &ClientMessage, known: &mut Secrets) {
    match message {
        ClientMessage::Frame(frame) => draw(seed, frame.sealed.last_chunk::<16>().unwrap(), known),
        message => draw(seed, &Sha256::digest(message.encode().unwrap())[..16], known),
    };
}

/// The suite, with a key stretching that tells what goes in and comes out.
struct Suite;

impl CipherSuite for Suite {
    type OprfCs = Ristretto255;
    type KeyExchange = TripleDh<Ristretto255, sha2_opaque::Sha512>;
    type Ksf = Stretching;
}

#[derive(Default)]
struct Stretching(RefCell<Secrets>);

impl Ksf for Stretching {
    fn hash<L: ArrayLength<u8>>(&self, input: GenericArray<u8, L>) -> Result<GenericArray<u8, L>, InternalError> {
        let params = Params::new(PROFILE.memory_kib(), PROFILE.passes(), PROFILE.lanes(), None).unwrap();
        let mut memory = vec![Block::new(); params.block_count()];
        let mut output = GenericArray::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(&input, &[0; 16], &mut output, memory.as_mut_slice())
            .unwrap();
        // Of each block of 1,024 bytes the first 16: to search for all of them takes a minute.
        let words = memory.iter().flat_map(|block| block.as_ref()[..2].iter().copied());
        let mut told = self.0.borrow_mut();
        told.push(("Argon2's memory", words.flat_map(u64::to_ne_bytes).collect()));
        told.push(("OPRF output", input.to_vec()));
        told.push(("stretched password", output.to_vec()));
        Ok(output)
    }
}

/// What HMAC keeps of its key: a key's hash states are as good as the key.
pub(crate) fn mac_states(key: &[u8]) -> [Vec<u8>; 2] {
    [0x36u8, 0x5c].map(|pad| {
        let mut block = [pad; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut state =
            [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
        sha2::block_api::compress256(&mut state, &[block]);
        state.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect()
    })
}

fn with_mac_states(name: &'static str, states: &'static str, key: &[u8]) -> Secrets {
    let [inner, outer] = mac_states(key);
    vec![(name, key.to_vec()), (states, inner), (states, outer)]
}

/// A registration, or the one inside of a change of password: gives `export_key`, and what is drawn after OPAQUE.
fn registration(seed: &[u8; 32], password: &str, evaluated: &[u8], known: &mut Secrets) -> (Vec<u8>, [u8; 32]) {
    let input = password_input("ada", password);
    let mut rng = draw(seed, b"request", known);
    known.push(("what the OPRF's blind is drawn as", next_draw::<64>(&rng.0).to_vec()));
    let started = ClientRegistration::<Suite>::start(&mut rng, &input).unwrap();
    known.push(("registration seed", seed.to_vec()));
    known.push(("OPRF blind", started.state.serialize()[..32].to_vec()));
    let stretching = Stretching::default();
    let parameters = ClientRegistrationFinishParameters::new(identifiers("ada"), Some(&stretching));
    let response = RegistrationResponse::deserialize(evaluated).unwrap();
    let mut rng = draw(seed, b"upload", known);
    let export_key = started.state.finish(&mut rng, &input, response, parameters).unwrap().export_key.to_vec();
    known.extend(stretching.0.take());
    known.push(("export_key", export_key.clone()));
    (export_key, next_draw(&rng.0))
}

/// What a registration brings forth, the vault's keys included.
pub(crate) fn registered(seed: &[u8; 32], password: &str, response: &ServerMessage, known: &mut Secrets) -> Device {
    let ServerMessage::RegistrationResponse { user_id, evaluated, .. } = response else { panic!("{response:?}") };
    let (export_key, random) = registration(seed, password, evaluated.as_bytes(), known);
    let hedge = expand(&export_key, "vault hedge", &[]);
    let (vault_key, _) = Hkdf::<Sha256>::extract(Some(&hedge), &random);
    known.push(("vault hedge", hedge.to_vec()));
    known.push(("vault key's randomness", random.to_vec()));
    known.extend(with_mac_states("vault key", "vault key's HMAC states", &vault_key));
    known.push(("wrap key", expand(&export_key, "vault wrap", &[user_id.as_bytes()]).to_vec()));
    for (name, label) in [("generation hedge", "generation hedge"), ("head key", "vault head")] {
        known.push((name, expand(&vault_key, label, &[]).to_vec()));
    }
    for (name, states, label) in [
        ("binder key", "binder key's HMAC states", "binder"),
        ("pending key", "pending key's HMAC states", "pending"),
        ("element key", "element key's HMAC states", "vault element"),
    ] {
        known.extend(with_mac_states(name, states, &expand(&vault_key, label, &[])));
    }
    let first_head = SealedHead::from_bytes([0; SealedHead::LEN]);
    Device { user_id: *user_id, vault_key: vault_key.into(), export_key, first_head }
}

/// The keys of a session.
pub(crate) struct Session {
    to_client: [u8; 32],
}

/// What a login brings forth.
pub(crate) fn logged_in(seed: &[u8; 32], password: &str, response: &ServerMessage, known: &mut Secrets) -> Session {
    let ServerMessage::LoginResponse { ke2, .. } = response else { panic!("{response:?}") };
    let input = password_input("ada", password);
    let mut rng = draw(seed, b"KE1\0", known);
    known.push(("what the OPRF's blind is drawn as", next_draw::<64>(&rng.0).to_vec()));
    let started = ClientLogin::<Suite>::start(&mut rng, &input).unwrap();
    let state = started.state.serialize();
    known.push(("login seed", seed.to_vec()));
    known.push(("OPRF blind", state[..32].to_vec()));
    known.push(("client's ephemeral key", state[128..160].to_vec()));
    let (context, stretching) = (opaque_context(), Stretching::default());
    let parameters = ClientLoginFinishParameters::new(Some(&context), identifiers("ada"), Some(&stretching));
    let ke2 = CredentialResponse::deserialize(ke2.as_bytes()).unwrap();
    let finished = started.state.finish(&mut draw(seed, b"KE3\0", known), &input, ke2, parameters).unwrap();
    known.extend(stretching.0.take());
    known.push(("export_key", finished.export_key.to_vec()));
    known.push(("session_key", finished.session_key.to_vec()));
    let [to_server, to_client] =
        ["client to server", "server to client"].map(|label| expand(&finished.session_key, label, &[]));
    known.push(("frame key", to_server.to_vec()));
    known.push(("frame key", to_client.to_vec()));
    Session { to_client }
}

/// What a change of password brings forth.
pub(crate) fn changed(seed: &[u8; 32], password: &str, session: &Session, answer: &ServerMessage, known: &mut Secrets) {
    let ServerMessage::Frame(frame) = answer else { panic!("{answer:?}") };
    let sequence = frame.sequence.to_be_bytes();
    let nonce = Nonce::try_from([&[0; 4], &sequence[..]].concat().as_slice()).unwrap();
    let payload = Payload { msg: &frame.sealed, aad: &[&[1, 1], &sequence[..]].concat() };
    let body = Aes256GcmSiv::new(&session.to_client.into()).decrypt(&nonce, payload).unwrap();
    let Reply::ChangePassword(change_password::Reply::Evaluated { evaluated }) = postcard::from_bytes(&body).unwrap()
    else {
        panic!("no evaluation")
    };
    registration(seed, password, evaluated.as_bytes(), known);
}

/// What the store's newest head says is what the test has computed: so are the keys.
pub(crate) fn check(device: &Device, store: &MemoryStore, live: &[KeyId]) {
    let (_, record) = store.heads.last_key_value().unwrap();
    let says = device.open_head(&SealedHead::from_bytes(record[1..].try_into().unwrap()));
    assert_eq!((says.count, says.digest), (u64::try_from(live.len()).unwrap(), device.digest(live)));
}

/// What secrets are generated from.
pub(crate) fn generation(device: &Device, client_random: Vec<u8>) -> Secrets {
    let hedge = expand(&device.vault_key, "generation hedge", &[]);
    let (prk, _) = Hkdf::<Sha256>::extract(Some(&hedge), &client_random);
    let mut known = with_mac_states("generation PRK", "generation PRK's HMAC states", &prk);
    known.push(("client's random", client_random));
    known
}

/// A secret, and for a scalar what it is multiplied by: its digits to the base 16, from -8 to 7, the lowest first.
pub(crate) fn secret(secret: &RetrievedSecret) -> Secrets {
    let mut known = vec![("secret", secret.expose().to_vec())];
    if secret.kind() == Kind::Secp256k1 {
        let nibbles = secret.expose().iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
        let mut carry = 0;
        let digits = nibbles.map(|nibble| {
            let digit = nibble + carry;
            carry = u8::from(digit > 7);
            digit.wrapping_sub(16 * carry)
        });
        known.push(("a scalar's digits", digits.collect()));
    }
    known
}

/// The keys of the secrets, from their headers, and what the vault comes to as they come and one of them goes.
pub(crate) fn held(device: &Device, batches: &[&PendingSecrets], known: &mut Secrets) {
    let mut live = Vec::new();
    for pending in batches {
        for sealed in super::hostile::sealed(pending) {
            let header = sealed.header.to_bytes();
            known.push(("record key", expand(&device.vault_key, "record", &[&header]).to_vec()));
            known.push(("element", device.digest(&[sealed.header.key_id()]).to_vec()));
            live.push(sealed.header.key_id());
        }
        known.push(("digest", device.digest(&live).to_vec()));
    }
    known.push(("digest", device.digest(&live[1..]).to_vec()));
}
