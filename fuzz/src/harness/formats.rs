//! Target `decode`: formats that keys are imported from. What is imported is the key that the file has, and comes out again
//! in every format.

use keystow::operation::{Reply, generate, retrieve};
use keystow::testing::hostile;
use keystow::{
    CallerFault, ClientMessage, Error, Exchange, Kind, PlainSecret, PublicComponent, RetrievedSecret, client,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::decoding::bounded;
use super::forgery::sealed;
use super::records::{World, with_world};

const KEYS: [Kind; 2] = [Kind::Secp256k1, Kind::Ed25519];

/// Any bytes, in every format.
pub fn import(data: &[u8]) {
    arbitrary_bytes(data);
    for kind in KEYS {
        take(data, kind, PlainSecret::raw(kind, data), |key| key.expose() == data);
        take(data, kind, bounded(data, |der| PlainSecret::pkcs8_der(kind, der)), |_| true);
    }
    take(data, Kind::Secp256k1, bounded(data, PlainSecret::sec1_der), |_| true);
    let Ok(text) = core::str::from_utf8(data) else { return };
    for kind in KEYS {
        let is_spelled = |key: &RetrievedSecret| {
            let digits = key.expose().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            digits == text.to_ascii_lowercase()
        };
        take(data, kind, PlainSecret::hex(kind, text), is_spelled);
        take(data, kind, bounded(data, |_| PlainSecret::pkcs8_pem(kind, text)), |_| true);
    }
    take(data, Kind::Secp256k1, bounded(data, |_| PlainSecret::sec1_pem(text)), |_| true);
}

/// Arbitrary bytes are taken as they are, 1 to 65,536, and have no format.
fn arbitrary_bytes(data: &[u8]) {
    let kind = Kind::Bytes(u32::try_from(data.len()).unwrap());
    let fits = (1..=65_536).contains(&data.len());
    assert_eq!(PlainSecret::bytes(data).map(|secret| secret.kind()).ok(), fits.then_some(kind));
    assert_eq!(PlainSecret::raw(kind, data).is_ok(), fits);
    let wrong = Error::Caller(CallerFault::WrongKind(kind));
    assert!(data.len() > 131_072 || PlainSecret::pkcs8_der(kind, data).unwrap_err() == wrong);
}

/// An import that fails is the file's fault; a key is what it should be, and comes out as it went in.
fn take(
    data: &[u8],
    kind: Kind,
    imported: Result<PlainSecret, Error>,
    is_expected: impl FnOnce(&RetrievedSecret) -> bool,
) {
    let plain = match imported {
        Ok(plain) => plain,
        Err(error) => {
            assert!(matches!(error, Error::Caller(CallerFault::ImportFormat(_))), "{error}");
            return;
        }
    };
    assert_eq!(plain.kind(), kind);
    let key = with_world(|world| world.kept(plain));
    assert!(key.kind() == kind && is_expected(&key), "another key than in {data:?}");
    check_key(&key);
    for again in exported(&key) {
        let again = with_world(|world| world.kept(again.unwrap()));
        assert!(again.expose() == key.expose() && again.public() == key.public(), "another key comes out");
    }
}

/// The public component belongs to the secret, by other means than this crate's own.
pub fn check_key(key: &RetrievedSecret) {
    let secret = || key.expose().try_into().unwrap();
    let expected = match key.kind() {
        Kind::Bytes(_) => None,
        Kind::Ed25519 => {
            let key = ed25519_dalek::SigningKey::from_bytes(&secret());
            Some(PublicComponent::Ed25519(key.verifying_key().to_bytes()))
        }
        Kind::Secp256k1 => {
            let key = k256::SecretKey::from_slice(key.expose()).unwrap().public_key();
            Some(PublicComponent::Secp256k1(key.to_sec1_bytes()[..].try_into().unwrap()))
        }
    };
    assert_eq!(key.public(), expected.as_ref(), "a public component of another key");
}

/// The key in every format that it can be imported from.
fn exported(key: &RetrievedSecret) -> Vec<Result<PlainSecret, Error>> {
    let kind = key.kind();
    let mut again = vec![
        PlainSecret::pkcs8_der(kind, key.to_pkcs8_der().unwrap().expose()),
        PlainSecret::pkcs8_pem(kind, &key.to_pkcs8_pem().unwrap()),
    ];
    if kind == Kind::Secp256k1 {
        again.push(PlainSecret::sec1_pem(&key.to_sec1_pem().unwrap()));
    }
    again
}

impl World {
    /// A secret as it comes back once it was imported and stored, without a store: the replies are made here.
    fn kept(&mut self, plain: PlainSecret) -> RetrievedSecret {
        let rng = &mut ChaCha20Rng::seed_from_u64(6);
        let exchange = self.client.import(vec![plain], rng).unwrap();
        let reply = Reply::Generate(generate::Reply { server_random: [9; 32] });
        let pending = self.answered(exchange, &reply);
        let key_ids: Vec<_> = pending.key_ids().collect();
        let exchange = self.client.retrieve(&key_ids).unwrap();
        let reply = Reply::Retrieve(retrieve::Reply { secrets: sealed(&pending) });
        self.answered(exchange, &reply).remove(0)
    }

    fn answered<O: client::Operation>(&self, mut exchange: Exchange<O>, reply: &Reply) -> O::Output {
        let ClientMessage::Frame(frame) = exchange.message() else { panic!("not in a session") };
        let reply = hostile::reply(&self.half(), frame.session_id, frame.sequence, reply).unwrap();
        exchange.receive(reply).unwrap().unwrap().unwrap()
    }
}
