//! Frames and sessions out of their place: rules 9 and 14.

use super::{Around, Bench, PASSWORD, Person, Row, last_login};
use crate::kind::Kind;
use crate::message::{ClientMessage, Frame, ServerMessage};
use crate::testing::hostile::forge::{flipped, relabelled_request};
use crate::testing::hostile::{Verdict, ensure, fail};

pub(super) const ATTACKS: &[Row] = &[
    (9, "requests before the password was proven", before_ke3),
    (14, "every message repeated, to have it done twice", repeated),
    (14, "messages from before the last, replayed", replayed),
    (14, "a request that was overtaken by a later one", reordered),
    (14, "the server's own frames sent back to it", reflected),
    (14, "a frame under another number, or in another person's session", spliced),
    (14, "one login's KE3 in another login of the same person", spliced_login),
    (14, "a garbled first message, to take a session over", garbled_first),
    (14, "a session after its end", after_log_out),
];

/// The newest frame that was sent, and its answer.
fn last_frames(bench: &Bench<'_>) -> Verdict<(Frame, Frame)> {
    match bench.tape.last() {
        Some((ClientMessage::Frame(request), ServerMessage::Frame(reply))) => Ok((request.clone(), reply.clone())),
        _ => fail("no frames were exchanged"),
    }
}

fn before_ke3(bench: &mut Bench<'_>) -> Verdict {
    let (Person { client, .. }, _) = bench.whole_run("ada")?;
    let (frame, _) = last_frames(bench)?;
    let mut exchange = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let response = bench.answer(exchange.message())?;
    for sequence in [0, 1, 2, frame.sequence] {
        let early = Frame { session_id: response.session_id(), sequence, sealed: frame.sealed.clone() };
        bench.expect_no_answer("a frame before KE3", &ClientMessage::Frame(early))?;
    }
    exchange.receive(response)?;
    bench.run(exchange)??;
    Ok(())
}

fn repeated(bench: &mut Bench<'_>) -> Verdict {
    bench.around = Around::Repeats;
    let (mut person, key_id) = bench.whole_run("ada")?;
    bench.around = Around::Nothing;
    bench.expect_list(&mut person.session, &[key_id])
}

fn replayed(bench: &mut Bench<'_>) -> Verdict {
    let (mut person, key_id) = bench.whole_run("ada")?;
    let session_id = last_login(&bench.tape);
    let own = bench.tape.iter().filter(|(_, answer)| Some(answer.session_id()) == session_id);
    let mut messages: alloc::vec::Vec<_> = own.cloned().collect();
    let Some((last, answer)) = messages.pop() else { return fail("nothing was sent") };
    for (message, _) in &messages {
        bench.expect_no_answer("an old message", message)?;
    }
    ensure(bench.send(&last)? == Some(answer), "the last message isn't answered any more")?;
    bench.expect_list(&mut person.session, &[key_id])
}

fn reordered(bench: &mut Bench<'_>) -> Verdict {
    let mut person = bench.person("ada")?;
    let earlier = person.session.generate(&[Kind::Ed25519], &mut bench.rng)?;
    let later = person.session.status()?;
    bench.run(later)??;
    bench.expect_no_answer("a request that was overtaken", earlier.message())?;
    bench.expect_list(&mut person.session, &[])
}

fn reflected(bench: &mut Bench<'_>) -> Verdict {
    let (mut person, key_id) = bench.whole_run("ada")?;
    let (_, reply) = last_frames(bench)?;
    for sequence in [reply.sequence, reply.sequence.saturating_add(1)] {
        let sent_back = ClientMessage::Frame(Frame { sequence, ..reply.clone() });
        bench.expect_no_answer("a reflected frame", &sent_back)?;
    }
    bench.expect_list(&mut person.session, &[key_id])
}

fn spliced(bench: &mut Bench<'_>) -> Verdict {
    let mut bob = bench.person("bob")?;
    let (mut ada, key_id) = bench.whole_run("ada")?;
    let (request, _) = last_frames(bench)?;
    for sequence in [0, request.sequence.saturating_add(1), u64::MAX] {
        let renumbered = ClientMessage::Frame(Frame { sequence, ..request.clone() });
        bench.expect_no_answer("a renumbered frame", &renumbered)?;
    }
    let spliced = relabelled_request(ClientMessage::Frame(request), bob.session.session_id());
    bench.expect_no_answer("a frame in another person's session", &spliced)?;
    bench.expect_list(&mut bob.session, &[])?;
    bench.expect_list(&mut ada.session, &[key_id])
}

fn spliced_login(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let mut one = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let mut other = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let responses = [bench.answer(one.message())?, bench.answer(other.message())?];
    for (exchange, response) in [&mut one, &mut other].into_iter().zip(responses.clone()) {
        exchange.receive(response)?;
    }
    let [first, _] = responses;
    let spliced = relabelled_request(other.message().clone(), first.session_id());
    bench.expect_no_answer("another login's KE3", &spliced)?;
    bench.run(one)??;
    bench.run(other)??;
    Ok(())
}

fn garbled_first(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let mut exchange = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let honest = exchange.message().encode()?;
    let own = exchange.message().session_id()?;
    // The last byte of the name, and one of KE1's nonce.
    let name_end = client.account().as_bytes().len().saturating_add(2);
    let nonce = honest.len().saturating_sub(40);
    let garbled = [flipped(&honest, name_end, 1), flipped(&honest, nonce, 1)];
    for bytes in &garbled {
        if let Some(answer) = bench.send_bytes(bytes)? {
            ensure(answer.session_id() != own, "a garbled message was answered in the honest one's session")?;
        }
    }
    let response = bench.answer(exchange.message())?;
    for bytes in &garbled {
        let _answered_in_its_own_session = bench.send_bytes(bytes)?;
    }
    exchange.receive(response)?;
    match bench.run(exchange)? {
        Ok(_) => Ok(()),
        Err(_) => fail("a garbled copy of its first message ended an honest login"),
    }
}

fn after_log_out(bench: &mut Bench<'_>) -> Verdict {
    let Person { mut session, .. } = bench.person("ada")?;
    // Made before the end, as an exchange that shares the session's keys, and sent after it.
    let log_out = crate::operation::Request::LogOut(crate::operation::log_out::Request {});
    let log_out = crate::testing::hostile::forge::request(&mut session, &log_out)?;
    let late = session.generate(&[Kind::Ed25519], &mut bench.rng)?;
    bench.run(log_out)??;
    bench.expect_no_answer("a request after the log-out", late.message())
}
