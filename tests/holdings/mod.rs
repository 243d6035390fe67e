//! What the custody tests share: a person with many secrets, exchanges taken a message at a time, and settled by hand.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

pub mod listing;

use keystow::client::Operation;
use keystow::operation::Request;
use keystow::operation::list::ListedSecret;
use keystow::testing::hostile::open_request;
use keystow::*;

use crate::hostile::ended;
use crate::support::World;

/// A person with so many stored secrets of a byte each, in order of their key IDs.
pub fn person(world: &mut World, count: usize) -> (Client, ClientSession, Vec<KeyId>) {
    let (client, mut session) = world.person("ada");
    let mut key_ids = Vec::new();
    for batch in vec![Kind::Bytes(1); count].chunks(MAX_BATCH) {
        let pending = world.generate(&mut session, batch).unwrap().unwrap();
        key_ids.extend(world.store(&mut session, &pending).unwrap().unwrap().iter().map(|secret| secret.key_id));
    }
    key_ids.sort();
    (client, session, key_ids)
}

/// What is listed, by its key IDs.
pub fn ids(listed: &[ListedSecret]) -> Vec<KeyId> {
    listed.iter().map(|secret| secret.key_id).collect()
}

/// An exchange's message and its answer: what the exchange ends with, or nothing if it goes on.
pub fn step<O: Operation>(world: &mut World, exchange: &mut Exchange<O>) -> Option<Result<O::Output, Refusal>> {
    let answer = world.send(exchange.message()).unwrap();
    exchange.receive(answer).unwrap()
}

/// What is left of an exchange, message by message, and how many they were.
pub fn counted<O: Operation>(world: &mut World, exchange: &mut Exchange<O>) -> (Result<O::Output, Refusal>, usize) {
    let mut count = 0;
    loop {
        count += 1;
        if let Some(outcome) = step(world, exchange) {
            return (outcome, count);
        }
    }
}

/// What an exchange ends with, settled; it must end.
pub fn settled<T>(
    session: &mut ClientSession,
    outcome: Result<Option<Result<Unsettled<T>, Refusal>>, Error>,
) -> Result<T, Refusal> {
    ended(outcome).map(|unsettled| session.settle(unsettled).unwrap())
}

/// What the server reads in an exchange's message.
pub fn request<O: Operation>(world: &World, exchange: &Exchange<O>) -> Request {
    let message = exchange.message().clone();
    open_request(&world.server.sessions[&message.session_id().unwrap()], message).unwrap()
}
