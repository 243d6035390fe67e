//! Other people's secrets, forged headers, taken and deleted key IDs, half batches, wrong heads: rules 2, 13, 16, 19, 22, 25.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::{Bench, Person, Row};
use crate::client::ClientSession;
use crate::error::Refusal;
use crate::header::SealedSecret;
use crate::id::KeyId;
use crate::kind::Kind;
use crate::operation::{Reply, Request, audit, delete, retrieve, store};
use crate::testing::hostile::forge::{PUBLIC, USER_ID, blank_head, rewritten, sent};
use crate::testing::hostile::{Verdict, ensure, fail};
use crate::trail::AuditFilter;

pub(super) const ATTACKS: &[Row] = &[
    (2, "another user's secrets read, deleted and looked up in the trail", others_secrets),
    (2, "a secret stored under another user's ID", others_header),
    (19, "another user's key ID told from one that doesn't exist", others_or_missing),
    (16, "secrets whose public component, length or number is wrong", malformed),
    (13, "a stored secret overwritten by another under its key ID", overwritten),
    (13, "half of a batch, beside an ID that is taken", half_stored),
    (13, "half of a deletion, beside a secret that isn't there", half_deleted),
    (22, "a deleted secret stored again", resurrected),
    (25, "a change under the head of another epoch", other_epoch),
];

impl Bench<'_> {
    fn expect_intact(&mut self, session: &mut ClientSession, key_id: KeyId, bytes: &[u8]) -> Verdict {
        let retrieved = self.retrieve(session, key_id)??;
        ensure(retrieved.iter().all(|secret| secret.expose() == bytes), "the stored secret is another one now")
    }

    fn bytes_of(&mut self, session: &mut ClientSession, key_id: KeyId) -> Verdict<Vec<u8>> {
        let retrieved = self.retrieve(session, key_id)??;
        Ok(retrieved.first().map(|secret| secret.expose().to_vec()).unwrap_or_default())
    }
}

fn storing(secrets: Vec<SealedSecret>, session: &ClientSession) -> Request {
    let head = blank_head(session.pin().epoch().saturating_add(1));
    Request::Store(store::Request { secrets: Arc::new(secrets), head })
}

fn retrieving(key_id: KeyId) -> Request {
    Request::Retrieve(retrieve::Request { key_ids: vec![key_id] })
}

fn deleting(key_ids: Vec<KeyId>, session: &ClientSession) -> Request {
    Request::Delete(delete::Request { key_ids, head: blank_head(session.pin().epoch().saturating_add(1)) })
}

/// A person with a secret, and another person.
fn two(bench: &mut Bench<'_>) -> Verdict<(Person, KeyId, Person)> {
    let mut ada = bench.person("ada")?;
    let (key_id, _) = bench.secret(&mut ada.session, Kind::Ed25519)?;
    let bob = bench.person("bob")?;
    Ok((ada, key_id, bob))
}

/// Only the ciphertext's first byte differs: the header, and so the key ID, is the same.
fn other_record(secret: &SealedSecret) -> SealedSecret {
    let mut other = secret.clone();
    if let Some(byte) = other.ciphertext.first_mut() {
        *byte ^= 1;
    }
    other
}

fn others_secrets(bench: &mut Bench<'_>) -> Verdict {
    let (mut ada, key_id, mut bob) = two(bench)?;
    let bytes = bench.bytes_of(&mut ada.session, key_id)?;
    bench.expect_refusal("a retrieval", &mut bob.session, &retrieving(key_id), Refusal::NotFound)?;
    let request = deleting(vec![key_id], &bob.session);
    bench.expect_refusal("a deletion", &mut bob.session, &request, Refusal::NotFound)?;
    let filter = AuditFilter { key_ids: vec![key_id], ..AuditFilter::default() };
    // The refused tries above are in bob's own trail: no entry of ada's may be.
    let user_id = bob.session.user_id();
    match bench.ask(&mut bob.session, &Request::Audit(audit::Request { filter, after: None, limit: 256 }))? {
        Reply::Audit(page) => {
            ensure(page.entries.iter().all(|entry| entry.user_id() == user_id), "another user's trail was read")?;
        }
        Reply::Refused(_) => {}
        _ => return fail("the trail was answered with something else"),
    }
    bench.expect_list(&mut bob.session, &[])?;
    bench.expect_intact(&mut ada.session, key_id, &bytes)?;
    bench.expect_list(&mut ada.session, &[key_id])
}

fn others_header(bench: &mut Bench<'_>) -> Verdict {
    let (mut ada, key_id, mut bob) = two(bench)?;
    let pending = bench.generate(&mut ada.session, Kind::Bytes(32))?;
    let secrets = sent(&pending)?;
    let request = storing(secrets.clone(), &bob.session);
    bench.expect_refused("another user's header", &mut bob.session, &request)?;
    for mut secret in secrets {
        secret.header = rewritten(&secret.header, USER_ID, 1)?;
        let request = storing(vec![secret], &ada.session);
        bench.expect_refused("a header of nobody's", &mut ada.session, &request)?;
    }
    bench.expect_list(&mut bob.session, &[])?;
    bench.expect_list(&mut ada.session, &[key_id])
}

fn others_or_missing(bench: &mut Bench<'_>) -> Verdict {
    let (_ada, key_id, mut bob) = two(bench)?;
    let nowhere = KeyId::from_bytes([9; 16]);
    let ids = [key_id, nowhere];
    let retrievals = ids.map(retrieving);
    let deletions = ids.map(|id| deleting(vec![id], &bob.session));
    for [others, missing] in [retrievals, deletions] {
        let replies = [bench.ask(&mut bob.session, &others)?, bench.ask(&mut bob.session, &missing)?];
        ensure(
            replies.iter().all(|reply| *reply == Reply::Refused(Refusal::NotFound)),
            "the two are answered differently",
        )?;
    }
    Ok(())
}

fn malformed(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let session = &mut ada.session;
    let key = sent(&bench.generate(session, Kind::Secp256k1)?)?;
    let bytes = sent(&bench.generate(session, Kind::Bytes(32))?)?;
    let (Some(key), Some(bytes)) = (key.first(), bytes.first()) else { return fail("nothing was generated") };
    let no_point = SealedSecret { header: rewritten(&key.header, PUBLIC, 7)?, ..key.clone() };
    let (mut short, mut long) = (bytes.clone(), bytes.clone());
    short.ciphertext.pop();
    long.ciphertext.push(0);
    let batches = [
        ("a public component that is no point", vec![no_point]),
        ("a ciphertext that is too short", vec![short]),
        ("a ciphertext that is too long", vec![long]),
        ("a secret twice in a batch", vec![bytes.clone(), bytes.clone()]),
        ("an empty batch", vec![]),
    ];
    for (what, secrets) in batches {
        let request = storing(secrets, session);
        bench.expect_refused(what, session, &request)?;
    }
    bench.expect_list(session, &[])
}

fn overwritten(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let (key_id, pending) = bench.secret(&mut ada.session, Kind::Bytes(32))?;
    let bytes = bench.bytes_of(&mut ada.session, key_id)?;
    let others = sent(&pending)?.iter().map(other_record).collect();
    let request = storing(others, &ada.session);
    bench.expect_refusal("another record", &mut ada.session, &request, Refusal::KeyIdTaken(key_id))?;
    bench.expect_intact(&mut ada.session, key_id, &bytes)?;
    bench.expect_list(&mut ada.session, &[key_id])
}

fn half_stored(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let (key_id, pending) = bench.secret(&mut ada.session, Kind::Bytes(32))?;
    let fresh = sent(&bench.generate(&mut ada.session, Kind::Bytes(32))?)?;
    let Some(new_id) = fresh.first().map(|secret| secret.header.key_id()) else { return fail("nothing was generated") };
    let taken: Vec<SealedSecret> = sent(&pending)?.iter().map(other_record).collect();
    for batch in [[fresh.clone(), taken.clone()].concat(), [taken, fresh].concat()] {
        let request = storing(batch, &ada.session);
        bench.expect_refusal("the batch", &mut ada.session, &request, Refusal::KeyIdTaken(key_id))?;
        bench.expect_refusal("the half of it", &mut ada.session, &retrieving(new_id), Refusal::NotFound)?;
    }
    bench.expect_list(&mut ada.session, &[key_id])
}

fn half_deleted(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let (key_id, _) = bench.secret(&mut ada.session, Kind::Bytes(32))?;
    let nowhere = KeyId::from_bytes([9; 16]);
    for ids in [vec![key_id, nowhere], vec![nowhere, key_id]] {
        let request = deleting(ids, &ada.session);
        bench.expect_refusal("the batch", &mut ada.session, &request, Refusal::NotFound)?;
    }
    bench.expect_list(&mut ada.session, &[key_id])
}

fn resurrected(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let (key_id, pending) = bench.secret(&mut ada.session, Kind::Bytes(32))?;
    let exchange = ada.session.delete(&[key_id])?;
    bench.settled(&mut ada.session, exchange)??;
    let request = storing(sent(&pending)?, &ada.session);
    bench.expect_refusal("storing it again", &mut ada.session, &request, Refusal::KeyIdTaken(key_id))?;
    match bench.retrieve(&mut ada.session, key_id)? {
        Err(Refusal::NotFound | Refusal::AlreadyDeleted(_)) => {}
        Err(refusal) => return fail(format!("retrieving it: {refusal:?}")),
        Ok(_) => return fail("a deleted secret was retrieved"),
    }
    bench.expect_list(&mut ada.session, &[])
}

fn other_epoch(bench: &mut Bench<'_>) -> Verdict {
    let mut ada = bench.person("ada")?;
    let (key_id, _) = bench.secret(&mut ada.session, Kind::Bytes(32))?;
    let secrets = Arc::new(sent(&bench.generate(&mut ada.session, Kind::Bytes(32))?)?);
    let epoch = ada.session.pin().epoch();
    for wrong in [0, epoch, epoch.saturating_add(2), u64::MAX] {
        let head = blank_head(wrong);
        let store = Request::Store(store::Request { secrets: Arc::clone(&secrets), head: head.clone() });
        let delete = Request::Delete(delete::Request { key_ids: vec![key_id], head });
        for request in [store, delete] {
            bench.expect_refusal("it", &mut ada.session, &request, Refusal::HeadMoved)?;
        }
    }
    bench.expect_list(&mut ada.session, &[key_id])
}
