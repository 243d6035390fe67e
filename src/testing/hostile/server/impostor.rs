//! Servers that are not the one that the account was made at, or that try to have it cheap: rules 4, 9 and 10.

use super::scene::{NEW_PASSWORD, Scene};
use super::world::{World, changing};
use super::{Act, Row};
use crate::message::{ClientMessage, ServerMessage};
use crate::operation::{Reply, change_password};
use crate::server::ServerSetup;
use crate::suite::KsfProfile;
use crate::suite::opaque::OpaqueMessage;
use crate::testing::hostile::forge::{flipped, relabelled};
use crate::testing::hostile::{Verdict, ensure};

pub(super) const ATTACKS: &[Row] = &[
    (4, "another server, which knows the password", knows_password),
    (4, "another server, which knows nothing", knows_nothing),
    (4, "another server's key at a change of password", other_key),
    (9, "a login response whose proof is broken", broken_proof),
    (9, "something else in place of a login response", no_response),
    (10, "key stretching under another profile", other_profile),
];

/// A login that must fail before KE3 leaves.
fn no_ke3(scene: &mut Scene<'_>, lie: impl FnMut(&mut World, &[u8]) -> Option<alloc::vec::Vec<u8>>) -> Verdict {
    let (before, password) = (scene.world.finishes, scene.password);
    let mut lie = lie;
    scene.login_must_fail(password, &mut lie)?;
    ensure(scene.world.finishes == before, "a KE3 was sent to a server that hadn't proved itself")
}

fn impostor(scene: &Scene<'_>, identity: &[u8]) -> Verdict<World> {
    let mut impostor = World::new(identity, 0x00ff_1234)?;
    impostor.profile = scene.world.profile;
    Ok(impostor)
}

fn knows_password(scene: &mut Scene<'_>) -> Verdict {
    let mut impostor = impostor(scene, &scene.world.identity)?;
    impostor.enrol(&scene.account, scene.password)?;
    no_ke3(scene, |_, bytes| impostor.honest(bytes))
}

fn knows_nothing(scene: &mut Scene<'_>) -> Verdict {
    let mut impostor = impostor(scene, &scene.world.identity)?;
    no_ke3(scene, |_, bytes| impostor.honest(bytes))
}

/// The second half of the answer is the server's key.
fn other_key(scene: &mut Scene<'_>) -> Verdict {
    let key = ServerSetup::generate(&mut scene.world.rng)?.server_key()?;
    let lie = &mut changing(move |reply| {
        if let Reply::ChangePassword(change_password::Reply::Evaluated { evaluated }) = reply {
            let mut bytes = *evaluated.as_bytes();
            bytes.iter_mut().skip(32).zip(key.as_bytes()).for_each(|(byte, other)| *byte = *other);
            **evaluated = OpaqueMessage::from_bytes(bytes);
        }
    });
    scene.must_fail(Act::ChangePassword(NEW_PASSWORD), &mut *lie)
}

fn broken_proof(scene: &mut Scene<'_>) -> Verdict {
    no_ke3(scene, |world, bytes| {
        let answer = world.honest(bytes)?;
        Some(flipped(&answer, answer.len().saturating_sub(1), 1))
    })
}

fn no_response(scene: &mut Scene<'_>) -> Verdict {
    no_ke3(scene, |world, bytes| {
        let session_id = ServerMessage::decode(&world.honest(bytes)?).ok()?.session_id();
        ServerMessage::Registered { session_id }.encode().ok()
    })
}

/// The request goes to the server with another profile in it, and the answer comes back under the program's own label.
fn other_profile(scene: &mut Scene<'_>) -> Verdict {
    no_ke3(scene, |world, bytes| {
        let message = ClientMessage::decode(bytes).ok()?;
        let own = message.session_id().ok()?;
        let ClientMessage::LoginRequest { account, profile, ke1 } = message else { return world.honest(bytes) };
        let cheaper = if profile == KsfProfile::FLOOR { KsfProfile::RECOMMENDED } else { KsfProfile::FLOOR };
        let request = ClientMessage::LoginRequest { account, profile: cheaper, ke1 };
        let answer = world.honest(&request.encode().ok()?)?;
        relabelled(ServerMessage::decode(&answer).ok()?, own).encode().ok()
    })
}
