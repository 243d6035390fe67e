//! Vaults that are put back, forked or not what they are said to be: rules 25 to 27.

use alloc::vec::Vec;

use super::scene::{NEW_PASSWORD, PASSWORD, Scene};
use super::world::{World, changing, honest};
use super::{Act, Row};
use crate::header::SealedSecret;
use crate::id::AccountName;
use crate::kind::Kind;
use crate::operation::{Reply, Request, store};
use crate::testing::hostile::{Verdict, fail};

pub(super) const ATTACKS: &[Row] = &[
    (25, "a secret left out of a list", left_out),
    (25, "a secret twice in a list, or out of order", out_of_order),
    (25, "a deleted secret back in a list", back_again),
    (25, "\"stored\", and nothing was", not_stored),
    (25, "\"stored before\", and nothing was", not_stored_before),
    (25, "\"deleted\", and nothing was", not_deleted),
    (26, "a vault put back before the last change, at login", put_back),
    (26, "a vault put back to the registration, at login", put_back_whole),
    (26, "a vault put back during a session", put_back_in_session),
    (26, "another history than the device has seen", forked),
    (27, "the record of an old password beside the newest vault", old_record),
];

/// A list whose records the server changes.
fn list(scene: &mut Scene<'_>, mut change: impl FnMut(&mut Vec<SealedSecret>)) -> Verdict {
    let lie = &mut changing(|reply| {
        if let Reply::List(listed) = reply {
            change(&mut listed.secrets);
        }
    });
    scene.must_fail(Act::List, &mut *lie)
}

fn left_out(scene: &mut Scene<'_>) -> Verdict {
    list(scene, |secrets| {
        secrets.pop();
    })?;
    list(scene, Vec::clear)
}

fn out_of_order(scene: &mut Scene<'_>) -> Verdict {
    list(scene, |secrets| secrets.reverse())?;
    list(scene, |secrets| {
        let again = secrets.last().cloned();
        secrets.extend(again);
    })
}

fn back_again(scene: &mut Scene<'_>) -> Verdict {
    let (key_id, user_id) = (scene.made(Kind::Bytes(32))?, scene.user_id()?);
    let record = scene.world.record(user_id, key_id)?;
    scene.is_to_go(key_id);
    scene.honestly(Act::Delete(key_id))?;
    list(scene, |secrets| {
        secrets.push(record.clone());
        secrets.sort_by_key(|secret| secret.header.key_id());
    })
}

/// A change that is reported and lost. The program may report it too: but the head that it has sealed for it is known to it,
/// and neither the next list nor the next login can go on without. In the end the change is there after all.
fn lost(scene: &mut Scene<'_>, act: Act<'_>, is_change: impl Fn(&Request) -> bool) -> Verdict {
    let mut newest = None;
    let outcome = scene.act(act, &mut |world: &mut World, bytes: &[u8]| {
        if !world.request(bytes).is_some_and(|request| is_change(&request)) {
            return world.honest(bytes);
        }
        let past = world.server.store.clone();
        let answer = world.honest(bytes);
        newest = Some(core::mem::replace(&mut world.server.store, past));
        answer
    })?;
    if outcome.is_ok() {
        scene.must_fail(Act::List, &mut honest)?;
        let password = scene.password;
        scene.login_must_fail(password, &mut honest)?;
    }
    match newest {
        Some(newest) => {
            scene.world.server.store = newest;
            Ok(())
        }
        None => fail("the program reports a change that it never asked for"),
    }
}

fn not_stored(scene: &mut Scene<'_>) -> Verdict {
    lost(scene, Act::Generate(Kind::Bytes(32)), |request| matches!(request, Request::Store(_)))
}

/// The reply that the secrets had been stored before.
fn stored_before(request: &Request) -> Option<Reply> {
    let Request::Store(request) = request else { return None };
    let key_ids = request.secrets.iter().map(|secret| secret.header.key_id()).collect();
    Some(Reply::Store(store::Reply { key_ids, repeated: true }))
}

fn not_stored_before(scene: &mut Scene<'_>) -> Verdict {
    let act = Act::Generate(Kind::Bytes(32));
    scene.must_fail(act, &mut |world, bytes| match world.request(bytes).and_then(|request| stored_before(&request)) {
        Some(reply) => world.sealed(bytes, 0, &reply),
        None => world.honest(bytes),
    })
}

fn not_deleted(scene: &mut Scene<'_>) -> Verdict {
    let key_id = scene.made(Kind::Bytes(32))?;
    scene.is_to_go(key_id);
    lost(scene, Act::Delete(key_id), |request| matches!(request, Request::Delete(_)))
}

fn put_back(scene: &mut Scene<'_>) -> Verdict {
    let past = scene.world.server.store.clone();
    scene.made(Kind::Bytes(32))?;
    let newest = core::mem::replace(&mut scene.world.server.store, past);
    let password = scene.password;
    scene.login_must_fail(password, &mut honest)?;
    scene.world.server.store = newest;
    Ok(())
}

/// To a vault without a secret: another device of the attacker's own makes it, so the account is as it was registered.
fn put_back_whole(scene: &mut Scene<'_>) -> Verdict {
    scene.start_over("bob");
    scene.register_honestly()?;
    let past = scene.world.server.store.clone();
    scene.log_in_honestly()?;
    scene.made(Kind::Bytes(32))?;
    scene.made(Kind::Ed25519)?;
    let newest = core::mem::replace(&mut scene.world.server.store, past);
    scene.login_must_fail(PASSWORD, &mut honest)?;
    scene.world.server.store = newest;
    Ok(())
}

fn put_back_in_session(scene: &mut Scene<'_>) -> Verdict {
    let past = scene.world.server.store.clone();
    scene.made(Kind::Bytes(32))?;
    let newest = core::mem::replace(&mut scene.world.server.store, past);
    scene.must_fail(Act::List, &mut honest)?;
    scene.must_fail(Act::Generate(Kind::Bytes(32)), &mut honest)?;
    scene.world.server.store = newest;
    Ok(())
}

fn forked(scene: &mut Scene<'_>) -> Verdict {
    let common = scene.world.server.store.clone();
    scene.made(Kind::Bytes(32))?;
    let newest = core::mem::replace(&mut scene.world.server.store, common);
    let (account, password) = (scene.account.clone(), scene.password);
    let mut other = scene.world.log_in(&account, password)?;
    for _ in 0..2 {
        scene.world.secret(&mut other)?;
    }
    scene.login_must_fail(password, &mut honest)?;
    scene.world.server.store = newest;
    Ok(())
}

fn old_record(scene: &mut Scene<'_>) -> Verdict {
    let name = AccountName::new(&scene.account)?;
    let old = scene.world.server.store.accounts.get(&name).cloned();
    scene.honestly(Act::ChangePassword(NEW_PASSWORD))?;
    let newest = scene.world.server.store.clone();
    let (Some(row), Some(old)) = (scene.world.server.store.accounts.get_mut(&name), old) else {
        return fail("there is no account");
    };
    (row.credential, row.record) = (old.credential, old.record);
    scene.login_must_fail(PASSWORD, &mut honest)?;
    scene.world.server.store = newest;
    Ok(())
}
