//! Secrets exchanged, lost, forged or badly drawn: rules 1 to 3, 11 to 13.

use alloc::format;
use alloc::vec::Vec;

use super::scene::Scene;
use super::world::{World, changing, honest};
use super::{Act, Row, Shown};
use crate::error::Refusal;
use crate::header::SealedSecret;
use crate::id::KeyId;
use crate::kind::Kind;
use crate::operation::{Reply, Request};
use crate::testing::hostile::forge::{PUBLIC, USER_ID, rewritten};
use crate::testing::hostile::{Verdict, ensure};

pub(super) const ATTACKS: &[Row] = &[
    (1, "another secret's record under the ID that was asked for", other_record),
    (1, "another secret's ciphertext under the right header", other_ciphertext),
    (1, "a garbled ciphertext, retrieved and listed", garbled),
    (1, "\"stored\" and \"deleted\" under another key ID", other_id),
    (2, "another user's record in place of one's own", others_record),
    (2, "another user's ID, at login and in a header", others_id),
    (3, "another public component in a header, retrieved and listed", other_public),
    (11, "a secret said to be missing", missing),
    (11, "a vault key that doesn't open", other_wrap),
    (12, "server randomness of another length", wrong_length),
    (12, "server randomness of the server's choice", chosen),
    (13, "the same server randomness twice", repeated),
];

/// Retrieves a secret, and lists, while the server changes the records in its answers.
fn retrieve_and_list(scene: &mut Scene<'_>, change: impl Fn(&mut SealedSecret)) -> Verdict {
    let key_id = scene.key_id(0)?;
    let lie = &mut changing(|reply| {
        if let Reply::Retrieve(crate::operation::retrieve::Reply { secrets })
        | Reply::List(crate::operation::list::Reply { secrets, .. }) = reply
        {
            secrets.iter_mut().filter(|secret| secret.header.key_id() == key_id).for_each(&change);
        }
    });
    scene.must_fail(Act::Retrieve(key_id), &mut *lie)?;
    scene.must_fail(Act::List, &mut *lie)
}

fn other(scene: &mut Scene<'_>) -> Verdict<SealedSecret> {
    let (user_id, key_id) = (scene.user_id()?, scene.key_id(1)?);
    scene.world.record(user_id, key_id)
}

fn other_record(scene: &mut Scene<'_>) -> Verdict {
    let other = other(scene)?;
    retrieve_and_list(scene, |secret| *secret = other.clone())
}

fn other_ciphertext(scene: &mut Scene<'_>) -> Verdict {
    let other = other(scene)?;
    retrieve_and_list(scene, |secret| secret.ciphertext.clone_from(&other.ciphertext))
}

fn garbled(scene: &mut Scene<'_>) -> Verdict {
    retrieve_and_list(scene, |secret| {
        if let Some(byte) = secret.ciphertext.first_mut() {
            *byte ^= 1;
        }
    })
}

fn other_id(scene: &mut Scene<'_>) -> Verdict {
    let wrong = KeyId::from_bytes([9; 16]);
    let gone = scene.made(Kind::Bytes(8))?;
    let lie = &mut changing(move |reply| match reply {
        Reply::Store(stored) => stored.key_ids = alloc::vec![wrong],
        Reply::Delete(deleted) => deleted.key_ids = alloc::vec![wrong],
        _ => {}
    });
    scene.must_fail(Act::Generate(Kind::Bytes(32)), &mut *lie)?;
    scene.log_in_honestly()?;
    scene.is_to_go(gone);
    optional(scene.must_fail(Act::Delete(gone), &mut *lie))
}

/// What a program doesn't offer isn't attacked; the rest of the attack counts.
fn optional(verdict: Verdict) -> Verdict {
    match verdict {
        Err(crate::testing::hostile::Stop::NotPlayed) => Ok(()),
        verdict => verdict,
    }
}

fn others_record(scene: &mut Scene<'_>) -> Verdict {
    scene.world.enrol("mallory", "hers")?;
    let mut mallory = scene.world.log_in("mallory", "hers")?;
    let key_id = scene.world.secret(&mut mallory)?;
    let foreign = scene.world.record(mallory.user_id(), key_id)?;
    retrieve_and_list(scene, |secret| *secret = foreign.clone())
}

fn others_id(scene: &mut Scene<'_>) -> Verdict {
    scene.world.enrol("mallory", "hers")?;
    let foreign = scene.world.log_in("mallory", "hers")?.user_id();
    let password = scene.password;
    scene.login_must_fail(
        password,
        &mut *changing(move |reply| {
            if let Reply::Welcome(welcome) = reply {
                welcome.user_id = foreign;
            }
        }),
    )?;
    scene.log_in_honestly()?;
    retrieve_and_list(scene, |secret| {
        if let Ok(header) = rewritten(&secret.header, USER_ID, 1) {
            secret.header = header;
        }
    })
}

/// Another point: the same x, the other y.
fn other_public(scene: &mut Scene<'_>) -> Verdict {
    let mut ids = Vec::new();
    for place in 0..2 {
        ids.push(scene.key_id(place)?);
    }
    let user_id = scene.user_id()?;
    for key_id in ids {
        if scene.world.record(user_id, key_id)?.header.public().is_some() {
            let lie = &mut changing(move |reply| {
                if let Reply::Retrieve(crate::operation::retrieve::Reply { secrets })
                | Reply::List(crate::operation::list::Reply { secrets, .. }) = reply
                {
                    for secret in secrets.iter_mut().filter(|secret| secret.header.public().is_some()) {
                        if let Ok(header) = rewritten(&secret.header, PUBLIC, 1) {
                            secret.header = header;
                        }
                    }
                }
            });
            scene.must_fail(Act::Retrieve(key_id), &mut *lie)?;
            scene.must_fail(Act::List, &mut *lie)?;
        }
    }
    Ok(())
}

fn missing(scene: &mut Scene<'_>) -> Verdict {
    let key_id = scene.key_id(0)?;
    let lie = &mut changing(|reply| *reply = Reply::Refused(Refusal::NotFound));
    scene.must_fail(Act::Retrieve(key_id), &mut *lie)?;
    let mut without = changing(|reply| {
        if let Reply::Retrieve(retrieved) = reply {
            retrieved.secrets.clear();
        }
    });
    scene.must_fail(Act::Retrieve(key_id), &mut *without)
}

fn other_wrap(scene: &mut Scene<'_>) -> Verdict {
    let password = scene.password;
    scene.login_must_fail(
        password,
        &mut *changing(|reply| {
            if let Reply::Welcome(welcome) = reply {
                welcome.wrap.iter_mut().for_each(|byte| *byte ^= 1);
            }
        }),
    )
}

/// The answer to a generation, written by hand: its number among the replies, then so many bytes.
fn wrong_length(scene: &mut Scene<'_>) -> Verdict {
    let is_generation = |world: &World, bytes: &[u8]| matches!(world.request(bytes), Some(Request::Generate(_)));
    let act = Act::Generate(Kind::Bytes(32));
    scene.must_fail(act, &mut |world, bytes| match is_generation(world, bytes) {
        true => world.sealed(bytes, 0, &(2u8, [7u8; 31])),
        false => world.honest(bytes),
    })?;
    scene.log_in_honestly()?;
    scene.must_fail(act, &mut |world, bytes| match is_generation(world, bytes) {
        true => world.sealed(bytes, 0, &(2u8, [7u8; 32], 7u8)),
        false => world.honest(bytes),
    })
}

/// The same bytes for two secrets: whoever knows them must know neither, so they must not fix the secret.
fn chosen(scene: &mut Scene<'_>) -> Verdict {
    for random in [[0; 32], [0xff; 32]] {
        let lie = &mut changing(move |reply| {
            if let Reply::Generate(generated) = reply {
                generated.server_random = random;
            }
        });
        for _ in 0..2 {
            scene.may_fail(Act::Generate(Kind::Secp256k1), &mut *lie)?;
        }
        scene.log_in_honestly()?;
    }
    scene.all_differ()
}

fn repeated(scene: &mut Scene<'_>) -> Verdict {
    let lie = &mut changing(|reply| {
        if let Reply::Generate(generated) = reply {
            generated.server_random = [7; 32];
        }
    });
    let mut ids = Vec::new();
    for _ in 0..2 {
        if let Ok(Shown::New(new)) = scene.act(Act::Generate(Kind::Bytes(32)), &mut *lie)? {
            ids.extend(new.into_iter().map(|(key_id, _)| key_id));
        }
    }
    let distinct = ids.first() != ids.get(1) || ids.is_empty();
    ensure(distinct, &format!("two secrets under the ID {:?}", ids.first()))?;
    scene.may_fail(Act::List, &mut honest)
}
