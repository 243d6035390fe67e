//! What is under way: messages as bytes, picked in any order, copied, lost, and put together from two.

use keystow::*;
use proptest::sample::Index;

#[derive(Default)]
pub struct Network {
    pub requests: Vec<Vec<u8>>,
    pub replies: Vec<Vec<u8>>,
}

fn push(under_way: &mut Vec<Vec<u8>>, message: Vec<u8>) {
    if under_way.len() == ROOM {
        under_way.remove(0);
    }
    under_way.push(message);
}

/// Takes a message from those under way.
pub fn pick(under_way: &mut Vec<Vec<u8>>, which: &Index, copy: bool) -> Option<Vec<u8>> {
    if under_way.is_empty() {
        return None;
    }
    let at = which.index(under_way.len());
    Some(if copy { under_way[at].clone() } else { under_way.swap_remove(at) })
}

/// So many messages are under way at the most, each way: the oldest are lost.
const ROOM: usize = 10;

impl Network {
    pub fn ask(&mut self, request: Vec<u8>) {
        push(&mut self.requests, request);
    }

    pub fn reply(&mut self, reply: Vec<u8>) {
        push(&mut self.replies, reply);
    }

    pub fn lose(&mut self, which: &Index, reply: bool) {
        let under_way = if reply { &mut self.replies } else { &mut self.requests };
        drop(pick(under_way, which, false));
    }

    /// A request that is made of two others: one's contents under the other's session or number, or one's head with the
    /// other's tail.
    pub fn spliced_request(&mut self, first: &Index, second: &Index, how: usize) -> Option<ClientMessage> {
        let (first, second) = (pick(&mut self.requests, first, true)?, pick(&mut self.requests, second, true)?);
        let spliced = splice_request(&first, &second, how)?;
        let spliced = (spliced != first && spliced != second).then_some(spliced)?;
        ClientMessage::decode(&spliced).ok()
    }

    /// A reply to `asked` that is made of two others, or of another's contents. Nothing of a registration, whose channel is
    /// sound (RFC 9807, section 3.2), nor of a refusal outside of a frame, which nobody vouches for.
    pub fn spliced_reply(
        &mut self,
        asked: &ClientMessage,
        first: &Index,
        second: &Index,
        how: usize,
    ) -> Option<ServerMessage> {
        let (first, second) = (pick(&mut self.replies, first, true)?, pick(&mut self.replies, second, true)?);
        let session_id = asked.session_id().ok()?;
        let number = if let ClientMessage::Frame(frame) = asked { frame.sequence } else { 1 };
        let is_sound =
            |reply: &ServerMessage| matches!(reply, ServerMessage::Frame(_) | ServerMessage::LoginResponse { .. });
        let spliced = match ServerMessage::decode(&second).ok().filter(is_sound)? {
            ServerMessage::Frame(frame) if how < 2 => {
                let sequence = if how == 0 { number } else { frame.sequence };
                ServerMessage::Frame(Frame { session_id, sequence, ..frame })
            }
            ServerMessage::LoginResponse { ke2, .. } if how < 2 => ServerMessage::LoginResponse { session_id, ke2 },
            _ => ServerMessage::decode(&halves(&first, &second, how)).ok()?,
        };
        let is_new = spliced.encode().is_ok_and(|spliced| spliced != first && spliced != second);
        (is_new && is_sound(&spliced)).then_some(spliced)
    }
}

fn halves(first: &[u8], second: &[u8], how: usize) -> Vec<u8> {
    let at = first.len().min(second.len()) * (how + 1) / 4;
    [&first[..at], &second[at..]].concat()
}

/// A frame's contents under another's session ID, and its number too if `how` says so.
fn graft(first: Frame, second: Frame, how: usize) -> Frame {
    let sequence = if how == 0 { first.sequence } else { second.sequence };
    Frame { session_id: first.session_id, sequence, sealed: second.sealed }
}

fn splice_request(first: &[u8], second: &[u8], how: usize) -> Option<Vec<u8>> {
    let (one, other) = (ClientMessage::decode(first).ok()?, ClientMessage::decode(second).ok()?);
    let spliced = match (one, other) {
        (ClientMessage::Frame(one), ClientMessage::Frame(other)) if how < 2 => {
            ClientMessage::Frame(graft(one, other, how))
        }
        (ClientMessage::LoginFinish { session_id, .. }, ClientMessage::LoginFinish { ke3, .. }) if how < 2 => {
            ClientMessage::LoginFinish { session_id, ke3 }
        }
        _ => return Some(halves(first, second, how)),
    };
    spliced.encode().ok()
}
