//! Bytes that are no message, or not in their one form: rule 16.

use alloc::vec;
use alloc::vec::Vec;

use super::{Around, Bench, Row};
use crate::codec::MAX_MESSAGE;
use crate::message::ClientMessage;
use crate::testing::hostile::Verdict;
use crate::testing::hostile::forge::flipped;

pub(super) const ATTACKS: &[Row] = &[
    (16, "every message of a run cut, stretched, respelled and with a bit flipped", damaged),
    (16, "bytes that are no message: none, one, noise, too many, of another version", no_message),
];

/// Sends damaged copies of a message, none of which may be answered.
pub(super) fn damage(bench: &mut Bench<'_>, message: &ClientMessage) -> Verdict {
    let bytes = message.encode()?;
    for len in (0..bytes.len()).step_by(7).chain([bytes.len().saturating_sub(1)]) {
        bench.expect_nothing("a message that was cut", bytes.get(..len).unwrap_or_default())?;
    }
    for end in [0, 0xff] {
        bench.expect_nothing("a message with a byte behind its end", &[&bytes[..], &[end]].concat())?;
    }
    for version in [0, 2, 0x81] {
        bench.expect_nothing(
            "a message of another version",
            &[&[version], bytes.get(1..).unwrap_or_default()].concat(),
        )?;
    }
    bench.expect_nothing("a message whose kind is written too long", &respelled(&bytes))?;
    // A first message with another content is another session's first message.
    if !matches!(message, ClientMessage::RegistrationRequest { .. } | ClientMessage::LoginRequest { .. }) {
        for at in 0..bytes.len() {
            let bit = u32::try_from(at).unwrap_or_default() & 7;
            bench.expect_nothing("a message with a bit flipped", &flipped(&bytes, at, 1u8.rotate_left(bit)))?;
        }
    }
    Ok(())
}

/// The kind of message, one byte of varint, written as two.
fn respelled(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [version, kind, rest @ ..] => [&[*version, *kind | 0x80, 0], rest].concat(),
        _ => bytes.to_vec(),
    }
}

fn damaged(bench: &mut Bench<'_>) -> Verdict {
    bench.around = Around::Damage;
    let (mut person, key_id) = bench.whole_run("ada")?;
    bench.around = Around::Nothing;
    bench.expect_list(&mut person.session, &[key_id])
}

fn no_message(bench: &mut Bench<'_>) -> Verdict {
    let noise: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let huge_name = [&[1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[b'a'; 64]].concat();
    let huge_frame = [&[1, 4][..], &[0; 16], &[2, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0; 64]].concat();
    let too_long = [&[1, 4][..], &vec![0; MAX_MESSAGE]].concat();
    for bytes in [vec![], vec![1], vec![0; 64], noise, huge_name, huge_frame, too_long] {
        bench.expect_nothing("bytes that are no message", &bytes)?;
    }
    bench.whole_run("ada").map(|_| ())
}
