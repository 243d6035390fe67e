//! Sections 7, 8, 9 and 28 of the protocol's page: a vault, its secrets and its heads, computed from the vault key.

use k256::elliptic_curve::sec1::ToSec1Point;
use serde_json::{Value, json};

use super::file::{hex, unhex};
use super::page::{Book, long, pin_text, sum, varint};

/// A secret that is asked for: the kind's tag and length, and its bytes if the person brings them.
pub(crate) struct Secret {
    pub(crate) tag: u8,
    pub(crate) len: u32,
    pub(crate) imported: Option<[u8; 32]>,
}

impl Secret {
    /// Section 3: the kind in a request.
    pub(crate) fn kind(&self) -> Vec<u8> {
        let len = if self.tag == 0 { varint(self.len.into()) } else { Vec::new() };
        [vec![self.tag], len].concat()
    }
}

/// A vault, as its person's devices know it.
pub(crate) struct Vault {
    pub(crate) user_id: [u8; 16],
    vault_key: [u8; 32],
    binder_key: [u8; 32],
    head_key: [u8; 32],
    element_key: [u8; 32],
    pending_key: [u8; 32],
    hedge: [u8; 32],
    pub(crate) wrap: Vec<u8>,
    credential_tag: [u8; 32],
    /// The key IDs of what is in it.
    pub(crate) live: Vec<[u8; 16]>,
    pub(crate) heads: Vec<Vec<u8>>,
    hash: [u8; 32],
    /// What each head says.
    pub(crate) said: Vec<Value>,
}

impl Vault {
    pub(crate) fn new(book: &mut Book, user_id: [u8; 16], vault_key: [u8; 32]) -> Self {
        let mut key = |label| book.key(label, &vault_key, label, &[]);
        Self {
            user_id,
            vault_key,
            binder_key: key("binder"),
            head_key: key("vault head"),
            element_key: key("vault element"),
            pending_key: key("pending"),
            hedge: key("generation hedge"),
            wrap: Vec::new(),
            credential_tag: [0; 32],
            live: Vec::new(),
            heads: Vec::new(),
            hash: [0; 32],
            said: Vec::new(),
        }
    }

    fn wrap_key(&self, book: &mut Book, name: &str, export_key: &[u8]) -> ([u8; 32], Vec<u8>) {
        let key = book.key(&format!("{name}: wrap key"), export_key, "vault wrap", &[&self.user_id]);
        (key, [&[1], &self.user_id[..]].concat())
    }

    /// Section 7: the vault key under a key from export_key.
    pub(crate) fn wrap(&mut self, book: &mut Book, name: &str, export_key: &[u8]) {
        let (key, aad) = self.wrap_key(book, name, export_key);
        self.wrap = book.seal(&format!("{name}: wrap"), &key, &[0; 12], &aad, &self.vault_key);
        self.credential_tag = book.hash(&format!("{name}: credential tag"), Some("credential tag"), &[&self.wrap]);
    }

    /// A login's export_key opens the wrap, and the vault key is in it.
    pub(crate) fn unwrap(&self, book: &mut Book, name: &str, export_key: &[u8]) {
        let (key, aad) = self.wrap_key(book, name, export_key);
        assert_eq!(book.open(&format!("{name}: wrap"), &key, &[0; 12], &aad, &self.wrap), self.vault_key);
    }

    /// Section 28: the account is being deleted.
    pub(crate) fn close(&mut self) {
        self.live.clear();
        self.credential_tag = [0; 32];
    }

    /// Section 28: the next head, of what the vault holds now, in the message of this session and sequence.
    pub(crate) fn head(&mut self, book: &mut Book, session_id: &[u8], sequence: u64) -> Vec<u8> {
        let epoch = u64::try_from(self.heads.len()).unwrap();
        let name = |what: &str| format!("head {epoch}: {what}");
        let nonce = &book.hash(&name("nonce"), Some("head nonce"), &[session_id, &sequence.to_be_bytes()])[..12];
        let elements = self.live.iter().map(|id| book.mac(&name("element"), &self.element_key, &[id]));
        let digest = elements.collect::<Vec<_>>().into_iter().fold([0; 32], sum);
        let count = u64::try_from(self.live.len()).unwrap();
        let contents = [&self.hash[..], &count.to_be_bytes(), &digest, &self.credential_tag].concat();
        let aad = [&[1], &self.user_id[..], &epoch.to_be_bytes()].concat();
        let sealed = book.seal(&name("seal"), &self.head_key, nonce, &aad, &contents);
        let head = [&epoch.to_be_bytes()[..], nonce, &sealed].concat();
        let prev = std::mem::replace(&mut self.hash, book.hash(&name("hash"), Some("head"), &[&head]));
        self.heads.push(head.clone());
        self.said.push(json!({
            "name": format!("head {epoch}"),
            "session_id": hex(session_id),
            "sequence": sequence,
            "prev": hex(&prev),
            "count": count,
            "digest": hex(&digest),
            "credential_tag": hex(&self.credential_tag),
            "head": hex(&head),
            "pin": hex(&self.pin()),
            "pin_text": pin_text(epoch, &self.hash),
        }));
        head
    }

    /// Section 28: the newest head's epoch and hash.
    pub(crate) fn pin(&self) -> Vec<u8> {
        let epoch = u64::try_from(self.heads.len()).unwrap() - 1;
        [&epoch.to_be_bytes()[..], &self.hash].concat()
    }

    /// Section 13: what a batch is known again by.
    pub(crate) fn pending_tag(&self, book: &mut Book, name: &str, pin: &[u8], key_ids: &[[u8; 16]]) -> [u8; 32] {
        book.mac(&format!("{name}: tag of the pending secrets"), &self.pending_key, &[pin, key_ids.as_flattened()])
    }

    /// Section 9: a batch, each as `header: bytes ‖ ciphertext: bytes`, and its key ID.
    pub(crate) fn make(
        &self,
        book: &mut Book,
        wanted: &[Secret],
        client_random: Option<[u8; 32]>,
        server_random: [u8; 32],
        nonces: &[[u8; 32]],
    ) -> Vec<(Vec<u8>, [u8; 16])> {
        let prk = client_random.map(|random| book.extract("PRK of the generation", &self.hedge, &random));
        let mut made = Vec::new();
        for ((index, secret), nonce) in (0u16..).zip(wanted).zip(nonces) {
            let name = match secret.tag {
                0 => format!("Bytes({})", secret.len),
                1 => "Secp256k1".into(),
                _ => "Ed25519".into(),
            };
            let name = if prk.is_some() { name } else { format!("imported {name}") };
            let kind = [&[secret.tag][..], &secret.len.to_be_bytes()].concat();
            let bytes = match (secret.imported, prk) {
                (Some(bytes), _) => bytes.to_vec(),
                (None, prk) => {
                    let fields: [&[u8]; 4] = [&self.user_id, &kind, &server_random, &index.to_be_bytes()];
                    let len = if secret.tag == 1 { 64 } else { usize::try_from(secret.len).unwrap() };
                    let raw = book.expand(&format!("{name}: raw"), &prk.unwrap(), "secret", &fields, len);
                    if secret.tag == 1 { scalar(&raw) } else { raw }
                }
            };
            let public = public(secret.tag, &bytes);
            let origin = [u8::from(prk.is_none())];
            let parts: [&[u8]; 7] =
                [&[1], &self.user_id, &kind, &origin, &server_random, &index.to_be_bytes(), &public];
            let unbound = parts.concat();
            let binder = book.mac(&format!("{name}: binder"), &self.binder_key, &[nonce, &unbound, &bytes]);
            let header = [&unbound[..], &binder].concat();
            let key = book.key(&format!("{name}: record key"), &self.vault_key, "record", &[&header]);
            let ciphertext = book.seal(&format!("{name}: ciphertext"), &key, &[0; 12], &header, &bytes);
            let id = book.hash(&format!("{name}: key ID"), Some("key id"), &[&header]);
            made.push(([long(&header), long(&ciphertext)].concat(), id[..16].try_into().unwrap()));
        }
        made
    }
}

/// Section 9: modulo (n - 1), plus 1, by long division over bits, as slow as it is plain.
fn scalar(wide: &[u8]) -> Vec<u8> {
    // n - 1, n being the order of secp256k1 (SEC 2, section 2.4.1).
    let order = unhex("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140");
    let order: Vec<u8> = [&[0], &order[..]].concat();
    let mut rest = vec![0u8; 33];
    for bit in wide.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        double(&mut rest, bit);
        if rest >= order {
            let mut borrow = 0;
            for (digit, less) in rest.iter_mut().zip(&order).rev() {
                let difference = i16::from(*digit) - i16::from(*less) - borrow;
                borrow = i16::from(difference < 0);
                *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
            }
        }
    }
    for digit in rest.iter_mut().rev() {
        *digit = digit.wrapping_add(1);
        if *digit != 0 {
            break;
        }
    }
    rest[1..].to_vec()
}

/// `2 * number + bit`.
fn double(number: &mut [u8], bit: u8) {
    let mut carry = bit;
    for digit in number.iter_mut().rev() {
        (*digit, carry) = (*digit << 1 | carry, *digit >> 7);
    }
}

/// Section 9: the public component, by the libraries of the curves.
fn public(tag: u8, secret: &[u8]) -> Vec<u8> {
    match tag {
        0 => Vec::new(),
        1 => {
            let key = k256::SecretKey::from_slice(secret).unwrap();
            key.public_key().to_sec1_point(true).as_bytes().to_vec()
        }
        _ => ed25519_dalek::SigningKey::from_bytes(secret.try_into().unwrap()).verifying_key().to_bytes().to_vec(),
    }
}
