//! A curious operator: collects everything that can be printed, sent or stored, and searches it for secrets in every form that
//! bytes are printed in.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

use keystow::client::Operation;
use keystow::testing::Store;
use keystow::*;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::contains;
use crate::support::{World, client};

pub const PASSWORD: &str = "a pass phrase that is nowhere else 7391";
pub const KINDS: [Kind; 4] = [Kind::Bytes(64), Kind::Bytes(8), Kind::Secp256k1, Kind::Ed25519];

/// What a curious operator collects: logs, traffic, the database.
#[derive(Default)]
pub struct Witness {
    pub seen: Vec<(String, Vec<u8>)>,
    pub secrets: Vec<(&'static str, Vec<u8>)>,
}

impl Witness {
    /// Notes what a value prints: something for the value itself, and for each part that it names.
    pub fn prints(&mut self, what: &str, value: &impl Debug) {
        let text = format!("{value:?}");
        let mut before = text.split("()").collect::<Vec<_>>();
        before.pop();
        let named = before.iter().any(|before| before.ends_with(char::is_alphanumeric));
        let hollow = [": ,", ": }", "(, ", "[, ", ", )", ", ]"].iter().any(|part| text.contains(part));
        assert!(!text.is_empty() && !named && !hollow, "{what} prints nothing for a part of it: {text}");
        self.bytes(what, text.as_bytes());
        self.bytes(what, format!("{value:#?}").as_bytes());
    }

    pub fn displays(&mut self, what: &str, value: &(impl Debug + Display)) {
        self.prints(what, value);
        self.bytes(what, value.to_string().as_bytes());
    }

    pub fn bytes(&mut self, what: &str, bytes: &[u8]) {
        self.seen.push((what.to_owned(), bytes.to_vec()));
    }

    pub fn must_not_see(&mut self, what: &'static str, secret: &[u8]) {
        self.secrets.push((what, secret.to_vec()));
    }

    /// Where a secret was seen: its name, the form, and what it was seen in.
    pub fn leaks(&self) -> BTreeSet<(&'static str, &'static str, &str)> {
        let needles: Vec<_> = self.secrets.iter().flat_map(|(name, secret)| needles(name, secret)).collect();
        let mut leaks = BTreeSet::new();
        for (what, text) in &self.seen {
            let plain: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            for (name, form, needle) in &needles {
                if contains(text, needle) || contains(&plain, needle) {
                    leaks.insert((*name, *form, what.as_str()));
                }
            }
        }
        leaks
    }
}

/// Every 8 bytes of a secret, as bytes, in hexadecimal, and as a list of numbers without spaces.
fn needles(name: &'static str, secret: &[u8]) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let forms = |bytes: &[u8]| {
        let join = |parts: Vec<String>, with: &str| parts.join(with).into_bytes();
        let each = |form: fn(&u8) -> String| bytes.iter().map(form).collect::<Vec<_>>();
        [
            (name, "bytes", bytes.to_vec()),
            (name, "hex", join(each(|byte| format!("{byte:02x}")), "")),
            (name, "upper-case hex", join(each(|byte| format!("{byte:02X}")), "")),
            (name, "decimal list", join(each(ToString::to_string), ",")),
            (name, "hex list", join(each(|byte| format!("{byte:x}")), ",")),
        ]
    };
    secret.chunks_exact(8).flat_map(forms).collect()
}

/// The next bytes that a generator will give.
fn next_draw(rng: &ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.clone().fill_bytes(&mut bytes);
    bytes
}

impl Witness {
    /// One message to the server, and everything that is suspended on the way to its answer.
    pub fn serve(&mut self, world: &mut World, message: &ClientMessage) -> Result<ServerMessage, Error> {
        self.prints("client message", message);
        self.bytes("client message's bytes", &message.encode().unwrap());
        let id = message.session_id().unwrap();
        if !world.server.sessions.contains_key(&id) {
            self.must_not_see("server session's seed", &next_draw(&world.rng, 32));
            let session = world.server.server.accept(&mut world.rng);
            world.server.sessions.insert(id, session);
        }
        let session = world.server.sessions.get_mut(&id).unwrap();
        self.prints("server session", session);
        let mut step = session.receive(message.clone(), world.now)?;
        let answer = loop {
            self.prints("step", &step);
            step = match step {
                Step::Read(read) => {
                    self.prints("query", read.query());
                    let found = world.server.store.read(read.query()).unwrap();
                    self.prints("found", &found);
                    read.found(found)?
                }
                Step::Write(write) => {
                    self.prints("transaction", write.transaction());
                    let outcome = world.server.store.apply(write.transaction()).unwrap();
                    self.prints("outcome", &outcome);
                    break write.settle(outcome)?;
                }
                Step::Reply(reply) => break reply,
            };
        };
        self.prints("server session", session);
        self.prints("server message", &answer);
        self.bytes("server message's bytes", &answer.encode().unwrap());
        Ok(answer)
    }

    /// A whole exchange.
    pub fn run<O: Operation>(&mut self, world: &mut World, exchange: Exchange<O>) -> Result<O::Output, Error> {
        let mut exchange = exchange;
        let outcome = loop {
            self.prints("exchange", &exchange);
            let answer = self.serve(world, &exchange.message().clone())?;
            match exchange.receive(answer) {
                Ok(None) => {}
                Ok(Some(outcome)) => break outcome,
                Err(error) => {
                    self.prints("failed exchange", &exchange);
                    self.displays("error", &error);
                    return Err(error);
                }
            }
        };
        self.prints("ended exchange", &exchange);
        Ok(outcome?)
    }

    pub fn log_in(&mut self, world: &mut World, password: &str) -> Result<ClientSession, Error> {
        self.must_not_see("client's login seed", &next_draw(&world.rng, 32));
        let login = client("ada").log_in(password, None, &mut world.rng).unwrap();
        let session = self.run(world, login)?;
        self.prints("client session", &session);
        Ok(session)
    }

    pub fn generate(&mut self, world: &mut World, session: &mut ClientSession) -> PendingSecrets {
        self.must_not_see("generation's randomness", &next_draw(&world.rng, 32 + 32 * KINDS.len()));
        let generate = session.generate(&KINDS, &mut world.rng).unwrap();
        let pending = self.run(world, generate).unwrap();
        self.prints("pending secrets", &pending);
        self.bytes("pending secrets' bytes", &pending.encode().unwrap());
        self.bytes("pending secrets in JSON", &serde_json::to_vec(&pending).unwrap());
        pending
    }

    pub fn register(&mut self, world: &mut World) {
        self.must_not_see("client's registration seed", &next_draw(&world.rng, 32));
        let registration = client("ada").register(PASSWORD, &mut world.rng).unwrap();
        let registered = self.run(world, registration).unwrap();
        self.prints("registered", &registered);
        self.prints("client", &client("ada").pin_server_key(registered.server_key));
    }

    /// One batch of secrets, from login to retrieval on a second device. Gives that device's session.
    pub fn use_account(&mut self, world: &mut World) -> (ClientSession, PendingSecrets) {
        self.must_not_see("password", PASSWORD.as_bytes());
        self.prints("server", &world.server.server.clone());
        let mut session = self.log_in(world, PASSWORD).unwrap();
        let pending = self.generate(world, &mut session);
        let store = session.store(&pending).unwrap();
        let unsettled = self.run(world, store).unwrap();
        self.prints("unsettled store", &unsettled);
        let stored = session.settle(unsettled).unwrap();
        self.prints("new secrets", &stored);
        self.prints("client session", &session);
        self.displays("pin", &session.pin());
        let mut second = self.log_in(world, PASSWORD).unwrap();
        let key_ids: Vec<_> = stored.iter().map(|secret| secret.key_id).collect();
        let retrieve = second.retrieve(&key_ids).unwrap();
        for secret in self.run(world, retrieve).unwrap() {
            self.must_not_see("secret", secret.expose());
            self.prints("retrieved secret", &secret);
        }
        (second, pending)
    }

    pub fn store(&mut self, world: &World) {
        for (table, bytes) in world.server.store.stored_bytes() {
            self.bytes(table, bytes);
        }
        for entry in world.server.store.audit.values() {
            self.prints("audit entry", entry);
            self.bytes("audit entry's bytes", entry.to_record().unwrap().as_bytes());
        }
        self.prints("store", &world.server.store);
    }
}
