//! The person's own secrets, in every format.

use keystow::*;

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
