//! Every message of everything that a person does, answered with something else: rules 11, 14 and 16.

use alloc::vec;
use alloc::vec::Vec;

use super::Row;
use super::scene::{STEPS, Scene};
use super::world::{Lie, World};
use crate::codec::MAX_MESSAGE;
use crate::error::Refusal;
use crate::id::KeyId;
use crate::message::{ClientMessage, Frame, ServerMessage};
use crate::operation::{Reply, Request, status};
use crate::testing::hostile::forge::{flipped, relabelled};
use crate::testing::hostile::{Stop, Verdict, forge};

pub(super) const ATTACKS: &[Row] = &[
    (16, "a bit flipped in an answer", bit_flipped),
    (16, "an answer cut or stretched", cut),
    (16, "an answer that is no message: empty, of another version, too long", no_message),
    (14, "no answer at all", stall),
    (14, "a refusal that nothing vouches for in place of an answer", plain_refusal),
    (11, "a sealed refusal in place of an answer", sealed_refusal),
    (14, "the program's own messages sent back to it", reflected),
    (14, "an earlier answer of the session again", replayed),
    (14, "another session's answer", other_session),
    (14, "an answer under another number", other_number),
    (14, "another operation's answer", other_operation),
];

/// Has a person do everything, once for each message that it takes; that one is answered by `lie`. After each, the honest
/// server is back.
fn each_message(scene: &mut Scene<'_>, lie: &mut Lie<'_>) -> Verdict {
    for step in 0..STEPS {
        for number in 0.. {
            let (mut seen, mut told): (Vec<Vec<u8>>, bool) = (Vec::new(), false);
            let outcome = scene.step(step, &mut |world, bytes| {
                let place = seen.iter().position(|message| message == bytes);
                if place.is_none() {
                    seen.push(bytes.to_vec());
                }
                if place.unwrap_or(seen.len().saturating_sub(1)) != number {
                    return world.honest(bytes);
                }
                told = true;
                lie(world, bytes)
            });
            match outcome {
                Err(Stop::NotPlayed) => break,
                outcome => {
                    let _an_error_is_right = outcome?;
                }
            }
            scene.recovers()?;
            if !told {
                break;
            }
        }
    }
    Ok(())
}

fn bit_flipped(scene: &mut Scene<'_>) -> Verdict {
    // Version, kind, session ID, contents (a registration's begin with the user ID), end.
    for (place, bits) in [(0, 2), (1, 1), (9, 1), (25, 1), (50, 4), (usize::MAX, 0x80)] {
        each_message(scene, &mut |world, bytes| {
            let answer = world.honest(bytes)?;
            Some(flipped(&answer, place.min(answer.len().saturating_sub(1)), bits))
        })?;
    }
    Ok(())
}

fn cut(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |world, bytes| {
        let mut answer = world.honest(bytes)?;
        answer.pop();
        Some(answer)
    })?;
    each_message(scene, &mut |world, bytes| {
        let mut answer = world.honest(bytes)?;
        answer.push(0);
        Some(answer)
    })
}

fn no_message(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |world, bytes| world.honest(bytes).map(|_| Vec::new()))?;
    each_message(scene, &mut |world, bytes| {
        let mut answer = world.honest(bytes)?;
        answer.first_mut().map(|version| *version = 2)?;
        Some(answer)
    })?;
    each_message(scene, &mut |_, _| Some(vec![1; MAX_MESSAGE.saturating_add(1)]))
}

/// The server has done what was asked, and its answer never comes.
fn stall(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |_, _| None)?;
    each_message(scene, &mut |world, bytes| {
        world.honest(bytes)?;
        None
    })
}

const REFUSALS: [Refusal; 5] = [
    Refusal::Denied,
    Refusal::SessionEnded,
    Refusal::KeyIdTaken(KeyId::from_bytes([0; 16])),
    Refusal::NotFound,
    Refusal::HeadMoved,
];

fn plain_refusal(scene: &mut Scene<'_>) -> Verdict {
    for refusal in [Refusal::Denied, Refusal::SessionEnded] {
        each_message(scene, &mut |_, bytes| {
            let session_id = ClientMessage::decode(bytes).ok()?.session_id().ok()?;
            ServerMessage::Refused { session_id, refusal }.encode().ok()
        })?;
    }
    Ok(())
}

/// A person is told so, and nothing is made in place of what was refused. Whether its pending secret is kept is the program's
/// own matter: the refusal is the server's.
fn sealed_refusal(scene: &mut Scene<'_>) -> Verdict {
    scene.pending_must_arrive = false;
    for refusal in REFUSALS {
        each_message(scene, &mut |world, bytes| {
            let answer = world.sealed(bytes, 0, &Reply::Refused(refusal));
            answer.or_else(|| world.honest(bytes))
        })?;
    }
    Ok(())
}

fn reflected(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |_, bytes| Some(bytes.to_vec()))
}

/// The same message with another frame in it.
fn framed(bytes: &[u8], answer: &ServerMessage) -> Option<Vec<u8>> {
    let ClientMessage::Frame(Frame { session_id, sequence, .. }) = ClientMessage::decode(bytes).ok()? else {
        let session_id = ClientMessage::decode(bytes).ok()?.session_id().ok()?;
        return relabelled(answer.clone(), session_id).encode().ok();
    };
    match answer {
        ServerMessage::Frame(frame) => {
            ServerMessage::Frame(Frame { session_id, sequence, sealed: frame.sealed.clone() }).encode().ok()
        }
        other => relabelled(other.clone(), session_id).encode().ok(),
    }
}

fn replayed(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |world, bytes| {
        let earlier = world.last.clone()?;
        framed(bytes, &earlier)
    })
}

fn other_session(scene: &mut Scene<'_>) -> Verdict {
    scene.world.enrol("mallory", "hers")?;
    let mut mallory = scene.world.log_in("mallory", "hers")?;
    // What an honest server would have said to this request, said in another session.
    each_message(scene, &mut |world, bytes| {
        let request = world.request(bytes).unwrap_or(Request::Status(status::Request {}));
        let exchange = forge::request(&mut mallory, &request).ok()?;
        let answer = world.honest(&exchange.message().encode().ok()?)?;
        framed(bytes, &ServerMessage::decode(&answer).ok()?)
    })
}

/// The right reply, sealed for the next request; then an earlier answer, as it was.
fn other_number(scene: &mut Scene<'_>) -> Verdict {
    each_message(scene, &mut |world, bytes| next_number(world, bytes))?;
    each_message(scene, &mut |world, _| world.last.clone()?.encode().ok())
}

fn next_number(world: &mut World, bytes: &[u8]) -> Option<Vec<u8>> {
    let honest = world.honest(bytes)?;
    let message = ServerMessage::decode(&honest).ok()?;
    let ServerMessage::Frame(frame) = &message else { return Some(honest) };
    let session = world.server.sessions.get(&frame.session_id)?;
    let (session_id, sequence) = (frame.session_id, frame.sequence.saturating_add(1));
    let reply = forge::open_reply(session, message).ok()?;
    forge::reply(session, session_id, sequence, &reply).ok()?.encode().ok()
}

fn other_operation(scene: &mut Scene<'_>) -> Verdict {
    let status = Reply::Status(status::Reply { lifetime: 1, idle: 1, recent: 1 });
    each_message(scene, &mut |world, bytes| {
        let answer = world.sealed(bytes, 0, &status);
        answer.or_else(|| world.honest(bytes))
    })
}
