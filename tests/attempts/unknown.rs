//! Names without an account: a stranger can't tell them from any other (rule 8).

use core::mem::{Discriminant, discriminant};

use keystow::storage::{Change, Found, Outcome, Query, Transaction};
use keystow::testing::{MemoryStore, Store};
use keystow::*;

use super::support::{PASSWORD, World, client, error, world, world_with};
use super::{LIMIT, WRONG};

/// Rule 8: a stranger who asks twice with one blinded element, in two sessions, sees one credential identifier.
#[test]
fn a_name_has_one_credential_identifier_with_or_without_an_account() {
    let mut world = world(15);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    for name in ["ada", "eve"] {
        let request = client(name).log_in(WRONG, None, &mut world.rng).unwrap().message().clone();
        let ClientMessage::LoginRequest { account, profile, ke1 } = request else { panic!("no login request") };
        let elements = [0, 1].map(|nonce| {
            // RFC 9807, section 6.1: the blinded element, 32 bytes, then the client's nonce.
            let mut ke1 = *ke1.as_bytes();
            ke1[32] ^= nonce;
            let ke1 = Box::new(OpaqueMessage::from_bytes(ke1));
            match world.send(&ClientMessage::LoginRequest { account: account.clone(), profile, ke1 }).unwrap() {
                ServerMessage::LoginResponse { session_id, ke2 } => (session_id, ke2.as_bytes()[..32].to_vec()),
                other => panic!("no KE2: {other:?}"),
            }
        });
        assert_ne!(elements[0].0, elements[1].0);
        assert_eq!(elements[0].1, elements[1].1, "{name}");
    }
}

/// One access to the store: what is read, or the shape of what is written.
#[derive(Debug, PartialEq)]
enum Access {
    Read(Discriminant<Query>),
    Write { guards: usize, changes: Vec<Discriminant<Change>>, audit: bool, otherwise: bool },
}

/// A store that remembers how it was used.
#[derive(Default)]
struct Watched {
    inner: MemoryStore,
    accesses: Vec<Access>,
}

impl Store for Watched {
    type Error = core::convert::Infallible;

    fn read(&mut self, query: &Query) -> Result<Found, Self::Error> {
        self.accesses.push(Access::Read(discriminant(query)));
        self.inner.read(query)
    }

    fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, Self::Error> {
        let Transaction { guards, changes, audit, otherwise, .. } = transaction;
        self.accesses.push(Access::Write {
            guards: guards.len(),
            changes: changes.iter().map(discriminant).collect(),
            audit: audit.is_some(),
            otherwise: otherwise.is_some(),
        });
        self.inner.apply(transaction)
    }
}

/// What a stranger, and the database, see of a message to the server: reply and its length, or error; accesses.
type Seen = (Result<(Discriminant<ServerMessage>, usize), Error>, Vec<Access>);

fn see(world: &mut World<Watched>, message: &ClientMessage) -> Seen {
    let answer = match world.send(message) {
        Ok(reply) => Ok((discriminant(&reply), reply.encode().unwrap().len())),
        refused => Err(error(refused)),
    };
    (answer, core::mem::take(&mut world.server.store.accesses))
}

/// Rule 8: the reply, its size and the work of the store tell nobody whether a name has an account.
#[test]
fn a_name_without_an_account_looks_like_any_other() {
    let policy = ServerPolicy { attempt_limit: LIMIT, ..ServerPolicy::default() };
    let mut world = world_with(14, Watched::default(), policy);
    world.register(&client("ada"), PASSWORD).unwrap().unwrap();
    world.server.store.accesses.clear();
    let look = |world: &mut World<Watched>, name: &str| {
        let mut seen = Vec::new();
        for _ in 0..=LIMIT {
            let request = client(name).log_in(WRONG, None, &mut world.rng).unwrap().message().clone();
            seen.push(see(world, &request));
            seen.push(see(world, &request));
            let session_id = request.session_id().unwrap();
            let ke3 = Box::new(OpaqueMessage::from_bytes([7; 64]));
            seen.push(see(world, &ClientMessage::LoginFinish { session_id, ke3 }));
        }
        seen
    };
    let known = look(&mut world, "ada");
    assert_eq!(known, look(&mut world, "eve"));

    let kinds: Vec<_> = known.iter().map(|(answer, accesses)| (answer.clone().err(), accesses.len())).collect();
    let guess = [(None, 2), (None, 0), (Some(PeerFault::WrongKe3.into()), 0)];
    let refused = [(None, 2), (None, 0), (Some(PeerFault::OutOfOrder.into()), 0)];
    assert_eq!(kinds, [&guess[..], &guess, &guess, &refused].concat());
}
