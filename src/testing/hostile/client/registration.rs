//! Registrations that are taken over, damaged or meant for somebody else: rules 4, 16 and 21.

use alloc::format;

use super::{Bench, PASSWORD, Row};
use crate::client::Client;
use crate::error::Refusal;
use crate::message::{ClientMessage, ServerMessage};
use crate::testing::hostile::forge::{flipped, relabelled_request};
use crate::testing::hostile::{Verdict, ensure, fail};

pub(super) const ATTACKS: &[Row] = &[
    (21, "a name that is taken, registered again", taken_name),
    (21, "two registrations of one name side by side", side_by_side),
    (4, "a registration that is meant for another server identity", other_identity),
    (14, "one registration's upload in another's session", spliced),
    (16, "a registration whose upload was damaged on the way", damaged),
];

impl Bench<'_> {
    /// The account can be logged in to with the password that it was registered with.
    fn expect_owner(&mut self, client: &Client, password: &str) -> Verdict {
        match self.log_in(client, password)? {
            Ok(_) => Ok(()),
            Err(refusal) => fail(format!("the account's owner is refused: {refusal:?}")),
        }
    }

    /// The name is free.
    fn expect_free(&mut self, account: &str) -> Verdict {
        match self.register(account) {
            Ok(_) => Ok(()),
            Err(_) => fail("the name stays taken"),
        }
    }
}

fn taken_name(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("ada")?;
    let exchange = client.register("the thief's", &mut bench.rng)?;
    let outcome = bench.run(exchange)?;
    ensure(outcome == Err(Refusal::NameTaken), "the name wasn't refused as taken")?;
    bench.expect_owner(&client, PASSWORD)
}

fn side_by_side(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.client("ada")?;
    let mut first = client.register("the first", &mut bench.rng)?;
    let mut second = client.register("the second", &mut bench.rng)?;
    for exchange in [&mut first, &mut second] {
        let response = bench.answer(exchange.message())?;
        exchange.receive(response)?;
    }
    let (second, first) = (bench.run(second)?, bench.run(first)?);
    ensure(second.is_ok() && first == Err(Refusal::NameTaken), "not exactly one registration won")?;
    bench.expect_owner(&client, "the second")
}

fn other_identity(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.client_of("ada", b"another.example.com")?;
    let mut exchange = client.register(PASSWORD, &mut bench.rng)?;
    let response = bench.answer(exchange.message())?;
    exchange.receive(response)?;
    bench.expect_no_answer("an upload for another server", exchange.message())?;
    bench.expect_free("ada")
}

fn spliced(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.client("ada")?;
    let mut one = client.register(PASSWORD, &mut bench.rng)?;
    let other = client.register(PASSWORD, &mut bench.rng)?;
    let others = bench.answer(other.message())?.session_id();
    let response = bench.answer(one.message())?;
    one.receive(response)?;
    let spliced = relabelled_request(one.message().clone(), others);
    bench.expect_no_answer("another registration's upload", &spliced)?;
    bench.run(one)??;
    bench.expect_owner(&client, PASSWORD)
}

fn damaged(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.client("ada")?;
    let mut exchange = client.register(PASSWORD, &mut bench.rng)?;
    let response = bench.answer(exchange.message())?;
    // The answer is damaged too: another user ID, which the wrap and the transcript hang on.
    let ServerMessage::RegistrationResponse { session_id, user_id, evaluated } = response else {
        return fail("no registration response");
    };
    let bytes = flipped(user_id.as_bytes(), 0, 1).try_into().unwrap_or([0; 16]);
    let response =
        ServerMessage::RegistrationResponse { session_id, user_id: crate::UserId::from_bytes(bytes), evaluated };
    exchange.receive(response)?;
    bench.expect_no_answer("an upload after a damaged response", exchange.message())?;
    let upload = exchange.message().encode()?;
    for at in (17..upload.len()).step_by(17) {
        let bytes = flipped(&upload, at, 1);
        if ClientMessage::decode(&bytes).is_ok() {
            bench.expect_nothing("a damaged upload", &bytes)?;
        }
    }
    bench.expect_free("ada")
}
