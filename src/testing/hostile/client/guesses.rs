//! Guessing passwords and probing for names: rules 5 to 8.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::{Bench, PASSWORD, Person, Row};
use crate::client::{Client, Exchange};
use crate::error::{Error, PeerFault, Refusal};
use crate::id::AccountName;
use crate::message::{ClientMessage, ServerMessage};
use crate::operation::log_in::LogIn;
use crate::operation::{Reply, Request, change_password};
use crate::suite::opaque::{Ke1, OpaqueMessage};
use crate::testing::hostile::{Verdict, ensure, fail};

pub(super) const ATTACKS: &[Row] = &[
    (6, "more guesses than the limit, one after the other", one_by_one),
    (6, "more guesses than the limit, all at once, none of them finished", at_once),
    (6, "guesses hidden behind honest logins", hidden),
    (6, "a refund taken twice", refund_twice),
    (6, "a wrong KE3 that takes a charge back, or shuts the right one out", wrong_ke3),
    (6, "one login request sent again and again, to be charged each time", one_request),
    (6, "registering a taken name again, to start its count anew", count_anew),
    (5, "guessing through registration messages, uncharged", through_registration),
    (5, "guessing through a change of password, uncharged", through_change),
    (7, "fewer attempts than the limit, to lock a name's owner out sooner", too_few),
    (7, "every attempt of a name spent by a stranger, to lock its owner out", lock_out),
    (8, "a name without an account told by its answers, their sizes or its attempts", unknown_name),
    (8, "a name without an account told by what it evaluates", unknown_element),
];

impl Bench<'_> {
    /// A login with a wrong password; none if it is refused.
    fn guess(&mut self, client: &Client) -> Verdict<Option<Exchange<LogIn>>> {
        let mut exchange = client.log_in("a guess", None, &mut self.rng)?;
        let Some(answer) = self.send(exchange.message())? else { return Ok(None) };
        match (&answer, exchange.receive(answer.clone())) {
            (_, Err(Error::Peer(PeerFault::LoginFailed))) => Ok(Some(exchange)),
            (ServerMessage::Refused { .. }, Err(_)) => Ok(None),
            _ => fail("a guess was answered with something else than KE2"),
        }
    }

    /// As many guesses as these.
    fn guesses(&mut self, client: &Client, count: u32) -> Verdict<u32> {
        let mut got = 0u32;
        for _ in 0..count {
            got = got.saturating_add(u32::from(self.guess(client)?.is_some()));
        }
        Ok(got)
    }

    fn limit(&self) -> u32 {
        self.deployment.policy.attempt_limit
    }

    /// As many tries as show whether there is a limit.
    fn too_many(&self) -> u32 {
        self.limit().saturating_mul(2).saturating_add(2)
    }

    /// So many guesses were answered. (A clock of the server's own may have opened the next window meanwhile.)
    fn expect_limited(&self, got: u32) -> Verdict {
        let allowed = if self.deployment.own_clock { self.limit().saturating_mul(2) } else { self.limit() };
        if got <= allowed { Ok(()) } else { fail(format!("{got} guesses were answered, where {allowed} are allowed")) }
    }
}

/// A login request's account, profile and KE1.
fn login_request(message: &ClientMessage) -> Verdict<(AccountName, crate::suite::KsfProfile, &Ke1)> {
    match message {
        ClientMessage::LoginRequest { account, profile, ke1 } => Ok((account.clone(), *profile, ke1)),
        _ => fail("no login request"),
    }
}

/// The first 32 bytes: the blinded element of KE1 and of a registration request, the evaluated one of KE2 and of a response.
fn element(bytes: &[u8]) -> Verdict<[u8; 32]> {
    bytes.first_chunk().copied().map_or_else(|| fail("a short message"), Ok)
}

fn made_up_ke3(message: &ServerMessage) -> ClientMessage {
    ClientMessage::LoginFinish { session_id: message.session_id(), ke3: Box::new(OpaqueMessage::from_bytes([7; 64])) }
}

fn one_by_one(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let mut got = 0u32;
    for _ in 0..bench.too_many() {
        if let Some(exchange) = bench.guess(&client)? {
            got = got.saturating_add(1);
            if let Some(again) = bench.send(exchange.message())? {
                bench.expect_no_answer("a KE3 that is made up", &made_up_ke3(&again))?;
            }
        }
    }
    bench.expect_limited(got)
}

fn at_once(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let mut open = Vec::new();
    for _ in 0..bench.too_many() {
        open.push(client.log_in(PASSWORD, None, &mut bench.rng)?);
    }
    let mut got = 0u32;
    for exchange in &open {
        let answer = bench.send(exchange.message())?;
        got = got.saturating_add(u32::from(matches!(answer, Some(ServerMessage::LoginResponse { .. }))));
    }
    bench.expect_limited(got)
}

fn hidden(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let mut got = 0;
    for _ in 0..bench.too_many() {
        got = bench.guesses(&client, 1)?.saturating_add(got);
        let _perhaps_refused = bench.log_in(&client, PASSWORD)?;
    }
    bench.expect_limited(got)
}

fn refund_twice(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let got = bench.guesses(&client, bench.limit().saturating_sub(1))?;
    bench.log_in(&client, PASSWORD)??;
    let finish = bench.tape.iter().rfind(|(message, _)| matches!(message, ClientMessage::LoginFinish { .. })).cloned();
    let Some((finish, _)) = finish else { return fail("no KE3 was sent") };
    for _ in 0..3 {
        bench.expect_nothing_new(&finish)?;
    }
    let more = bench.guesses(&client, bench.too_many())?;
    bench.expect_limited(got.saturating_add(more))
}

impl Bench<'_> {
    /// An old message of a login gets nothing, or what it got before.
    fn expect_nothing_new(&mut self, message: &ClientMessage) -> Verdict {
        let before = self.tape.iter().rfind(|(old, _)| old == message).map(|(_, answer)| answer.clone());
        match self.send(message)? {
            None | Some(ServerMessage::Refused { .. }) => Ok(()),
            answer if answer == before => Ok(()),
            _ => fail("an old KE3 got a new answer"),
        }
    }
}

fn wrong_ke3(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let got = bench.guesses(&client, bench.limit().saturating_sub(1))?;
    let mut exchange = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let response = bench.answer(exchange.message())?;
    for _ in 0..3 {
        bench.expect_no_answer("a KE3 that is made up", &made_up_ke3(&response))?;
    }
    let more = bench.guesses(&client, bench.too_many())?;
    // The login that waits for its KE3 has the one charge that is left.
    bench.expect_limited(got.saturating_add(more).saturating_add(1))?;
    exchange.receive(response)?;
    match bench.run(exchange)? {
        Ok(_) => Ok(()),
        Err(refusal) => fail(format!("a wrong KE3 shut the right one out: {refusal:?}")),
    }
}

fn one_request(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let exchange = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let first = bench.answer(exchange.message())?;
    for _ in 0..bench.too_many() {
        ensure(bench.send(exchange.message())?.as_ref() == Some(&first), "the same login request got another answer")?;
    }
    match bench.log_in(&client, PASSWORD)? {
        Ok(_) => Ok(()),
        Err(refusal) if bench.limit() > 1 => fail(format!("one request was charged again and again: {refusal:?}")),
        Err(_) => Ok(()),
    }
}

fn count_anew(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let got = bench.guesses(&client, bench.too_many())?;
    let exchange = client.register("a guess", &mut bench.rng)?;
    let registered = bench.run(exchange)?;
    ensure(registered == Err(Refusal::NameTaken), "a taken name was registered again")?;
    let more = bench.guesses(&client, bench.too_many())?;
    bench.expect_limited(got.saturating_add(more))
}

/// What a charged login evaluates a KE1's element to.
fn evaluated_by_login(bench: &mut Bench<'_>, message: &ClientMessage) -> Verdict<[u8; 32]> {
    match bench.answer(message)? {
        ServerMessage::LoginResponse { ke2, .. } => element(ke2.as_bytes()),
        _ => fail("no login response"),
    }
}

fn through_registration(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let exchange = client.log_in("a guess", None, &mut bench.rng)?;
    let by_login = evaluated_by_login(bench, exchange.message())?;
    let (account, _, ke1) = login_request(exchange.message())?;
    let blinded = Box::new(OpaqueMessage::from_bytes(element(ke1.as_bytes())?));
    match bench.send(&ClientMessage::RegistrationRequest { account, blinded })? {
        Some(ServerMessage::RegistrationResponse { evaluated, .. }) => {
            ensure(element(evaluated.as_bytes())? != by_login, "a registration evaluated an account's own password")
        }
        _ => Ok(()),
    }
}

fn through_change(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    let exchange = client.log_in("a guess", None, &mut bench.rng)?;
    let mut seen = alloc::vec![evaluated_by_login(bench, exchange.message())?];
    let (_, _, ke1) = login_request(exchange.message())?;
    for _ in 0..2 {
        let blinded = Box::new(OpaqueMessage::from_bytes(element(ke1.as_bytes())?));
        let request = Request::ChangePassword(change_password::Request::Start { blinded });
        if let Reply::ChangePassword(change_password::Reply::Evaluated { evaluated }) =
            bench.ask(&mut session, &request)?
        {
            let evaluated = element(evaluated.as_bytes())?;
            ensure(!seen.contains(&evaluated), "a change of password evaluated an element twice alike")?;
            seen.push(evaluated);
        }
    }
    Ok(())
}

fn too_few(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let guesses = bench.limit().saturating_sub(1);
    let got = bench.guesses(&client, guesses)?;
    ensure(got == guesses, "the limit is reached too early")?;
    match bench.log_in(&client, PASSWORD)? {
        Ok(_) => Ok(()),
        Err(refusal) => fail(format!("the last attempt is refused: {refusal:?}")),
    }
}

fn lock_out(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    bench.guesses(&client, bench.too_many())?;
    let window = bench.deployment.policy.attempt_window;
    match bench.log_in(&client, PASSWORD)? {
        Err(Refusal::TryAgainAt(time)) if !bench.deployment.own_clock => {
            let last = bench.now.after(window);
            ensure(time > bench.now && time <= last, "the refusal names a time that is not the window's end")?;
        }
        Err(Refusal::TryAgainAt(_)) => {}
        Err(refusal) => return fail(format!("the refusal doesn't say when to try again: {refusal:?}")),
        Ok(_) => return fail("there is no limit"),
    }
    bench.pass(window)?;
    match bench.log_in(&client, PASSWORD)? {
        Ok(_) => Ok(()),
        Err(refusal) => fail(format!("the next window doesn't let its owner in: {refusal:?}")),
    }
}

/// Names of one length, with and without an account.
fn two_names(bench: &mut Bench<'_>) -> Verdict<[Client; 2]> {
    Ok([bench.register("ada")?, bench.client("eve")?])
}

fn unknown_name(bench: &mut Bench<'_>) -> Verdict {
    let mut seen = Vec::new();
    for client in two_names(bench)? {
        let mut answers = Vec::new();
        for _ in 0..bench.too_many() {
            let exchange = client.log_in("a guess", None, &mut bench.rng)?;
            let answer = bench.send(exchange.message())?;
            if let Some(response @ ServerMessage::LoginResponse { .. }) = &answer {
                bench.expect_no_answer("a KE3 that is made up", &made_up_ke3(response))?;
            }
            let shape = match &answer {
                Some(answer) => Some((super::name(answer), answer.encode()?.len())),
                None => None,
            };
            answers.push(shape);
        }
        seen.push(answers);
    }
    match seen.as_slice() {
        [known, unknown] if known == unknown => Ok(()),
        _ => fail("answers differ in kind, size or number"),
    }
}

fn unknown_element(bench: &mut Bench<'_>) -> Verdict {
    for client in two_names(bench)? {
        let exchange = client.log_in("a guess", None, &mut bench.rng)?;
        let first = evaluated_by_login(bench, exchange.message())?;
        // The same element under another nonce: another session.
        let (account, profile, ke1) = login_request(exchange.message())?;
        let mut bytes = *ke1.as_bytes();
        for byte in bytes.iter_mut().skip(32).take(32) {
            *byte ^= 1;
        }
        let ke1 = Box::new(OpaqueMessage::from_bytes(bytes));
        let second = evaluated_by_login(bench, &ClientMessage::LoginRequest { account, profile, ke1 })?;
        ensure(first == second, "an element is evaluated differently the second time")?;
    }
    Ok(())
}
