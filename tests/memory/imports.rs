//! The person's own secrets, in every format.

use keystow::*;
use zeroize::Zeroizing;

use super::flows::KINDS;
use super::known::Secrets;

/// The person's own secrets, in the formats that they are imported from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imports {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hex: String,
    pub(crate) secp256k1: Vec<u8>,
    pub(crate) ed25519: Vec<u8>,
    pub(crate) secp256k1_der: Vec<u8>,
    pub(crate) secp256k1_pem: String,
    pub(crate) sec1_pem: String,
    pub(crate) ed25519_der: Vec<u8>,
    pub(crate) ed25519_pem: String,
}

/// A character that neither base64 nor hexadecimal has, in this place.
fn misspelt(text: &str, place: usize) -> Zeroizing<String> {
    let (before, rest) = text.split_at(place);
    joined(&[before, "!", rest.split_at(1).1])
}

/// A copy that is wiped, made in one allocation: what is searched is the library.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// The last place of a PEM's base64, before its padding.
fn last_of(pem: &str) -> usize {
    pem.find("\n-----END").unwrap() - 3
}

/// A PEM of 48 bytes (no padding), with another byte behind its DER.
fn longer(pem: &str) -> Zeroizing<String> {
    assert!(!pem.contains('='));
    let (before, after) = pem.split_at(pem.find("\n-----END").unwrap());
    joined(&[before, "AA==", after])
}

impl Imports {
    pub(crate) fn of<'a>(
        secrets: impl Iterator<Item = &'a [u8]>,
        der: [Vec<u8>; 2],
        pem: [String; 2],
        sec1_pem: String,
    ) -> Self {
        let secrets: Vec<Vec<u8>> = secrets.take(KINDS.len()).map(<[u8]>::to_vec).collect();
        let [secp256k1_der, ed25519_der] = der;
        let [secp256k1_pem, ed25519_pem] = pem;
        Self {
            bytes: secrets[1].clone(),
            hex: secrets[0].iter().map(|byte| format!("{byte:02x}")).collect(),
            secp256k1: secrets[2].clone(),
            ed25519: secrets[3].clone(),
            secp256k1_der,
            secp256k1_pem,
            sec1_pem,
            ed25519_der,
            ed25519_pem,
        }
    }

    /// All of them; each is another secret to the vault.
    pub(crate) fn parse(&self) -> Vec<PlainSecret> {
        if self.bytes.is_empty() {
            return vec![PlainSecret::bytes(b"a first run has nothing to import").unwrap()];
        }
        let (secp256k1, ed25519) = (Kind::Secp256k1, Kind::Ed25519);
        vec![
            PlainSecret::bytes(&self.bytes).unwrap(),
            PlainSecret::hex(KINDS[0], &self.hex).unwrap(),
            PlainSecret::raw(secp256k1, &self.secp256k1).unwrap(),
            PlainSecret::raw(ed25519, &self.ed25519).unwrap(),
            PlainSecret::pkcs8_der(secp256k1, &self.secp256k1_der).unwrap(),
            PlainSecret::pkcs8_pem(secp256k1, &self.secp256k1_pem).unwrap(),
            PlainSecret::sec1_pem(&self.sec1_pem).unwrap(),
            PlainSecret::pkcs8_der(ed25519, &self.ed25519_der).unwrap(),
            PlainSecret::pkcs8_pem(ed25519, &self.ed25519_pem).unwrap(),
        ]
    }

    /// None of them is what it is taken for.
    pub(crate) fn parse_wrongly(&self) {
        if self.bytes.is_empty() {
            return;
        }
        let (secp256k1, ed25519) = (Kind::Secp256k1, Kind::Ed25519);
        let outcomes = [
            PlainSecret::hex(secp256k1, &self.hex),
            PlainSecret::hex(KINDS[0], self.hex.get(1..).unwrap()),
            PlainSecret::raw(ed25519, &self.bytes),
            PlainSecret::pkcs8_der(ed25519, &self.secp256k1_der),
            PlainSecret::pkcs8_pem(secp256k1, &self.ed25519_pem),
            PlainSecret::pkcs8_der(secp256k1, &self.secp256k1_der[..60]),
            PlainSecret::pkcs8_pem(ed25519, self.ed25519_pem.get(..80).unwrap()),
            PlainSecret::sec1_pem(&self.secp256k1_pem),
            PlainSecret::sec1_der(&self.secp256k1_der),
            // Right up to the last character, and one byte more inside.
            PlainSecret::hex(KINDS[0], &misspelt(&self.hex, self.hex.len() - 1)),
            PlainSecret::pkcs8_pem(secp256k1, &misspelt(&self.secp256k1_pem, last_of(&self.secp256k1_pem))),
            PlainSecret::sec1_pem(&misspelt(&self.sec1_pem, last_of(&self.sec1_pem))),
            PlainSecret::pkcs8_pem(ed25519, &misspelt(&self.ed25519_pem, last_of(&self.ed25519_pem))),
            PlainSecret::pkcs8_pem(ed25519, &longer(&self.ed25519_pem)),
        ];
        assert!(outcomes.iter().all(Result::is_err));
    }

    /// What is secret of their texts: the base64 behind the names of the format, and the hexadecimal.
    pub(crate) fn texts(&self) -> Secrets {
        let base64 = |pem: &str| -> Vec<u8> {
            let lines = pem.lines().filter(|line| !line.starts_with('-'));
            lines.flat_map(str::bytes).skip(24).collect()
        };
        let pems = [&self.secp256k1_pem, &self.sec1_pem, &self.ed25519_pem];
        let mut texts: Secrets = pems.into_iter().map(|pem| ("PEM", base64(pem))).collect();
        texts.push(("hexadecimal", self.hex.clone().into_bytes()));
        texts
    }
}
