//! What the vault's tests share: a vault with a history, its operations, and a server that lies in one reply.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

pub mod lies;

use std::collections::BTreeSet;

use keystow::client::Operation;
use keystow::operation::Reply;
use keystow::testing::{MemoryStore, hostile};
use keystow::*;

use crate::support::{World, world};

/// The password that the vault has at the end of its history.
pub const NEW_PASSWORD: &str = "a newer one";

/// A vault that has seen everything: stores, a deletion, a change of password, another user beside it.
pub struct Scene {
    pub world: World,
    pub client: Client,
    pub session: ClientSession,
    /// What is in the vault.
    pub live: BTreeSet<KeyId>,
    /// Two secrets of it, and what they are.
    pub kept: [KeyId; 2],
    /// Made at the newest head and at an older one, and stored already.
    pub fresh: PendingSecrets,
    pub older: PendingSecrets,
    pub stored: PendingSecrets,
    /// The pin of another device of the person, a little older.
    pub other_pin: VaultPin,
    /// The store after each step of the history.
    pub past: Vec<MemoryStore>,
    pub material: Material,
}

/// What a server has in hand to lie with.
#[derive(Clone)]
pub struct Material {
    /// Live records of the vault, a deleted one, another user's.
    pub own: Vec<SealedSecret>,
    pub deleted: SealedSecret,
    pub foreign: SealedSecret,
    /// All heads of the vault, and another user's of the epoch 1.
    pub heads: Vec<SealedHead>,
    pub foreign_head: SealedHead,
    /// Wraps of the password before, and of another user.
    pub wraps: Vec<[u8; 48]>,
    pub other_user: UserId,
}

pub fn sealed(record: &[u8]) -> SealedSecret {
    postcard::from_bytes(&record[2..]).unwrap()
}

/// The wrap at the end of an account record.
fn wrap(record: &[u8]) -> [u8; 48] {
    record[record.len() - 48..].try_into().unwrap()
}

fn heads(store: &MemoryStore, user_id: UserId) -> Vec<SealedHead> {
    let own = store.heads.iter().filter(|((owner, _), _)| *owner == user_id);
    own.map(|(_, record)| postcard::from_bytes(&record[1..]).unwrap()).collect()
}

impl Scene {
    pub fn new(seed: u64) -> Self {
        let mut world = world(seed);
        let (_, mut bob) = world.person("bob");
        let foreign = world.secret(&mut bob, Kind::Bytes(32)).key_id;
        let (client, mut session) = world.person("ada");
        let name = client.account().clone();
        let mut past = vec![world.server.store.clone()];
        let stored = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();
        let first = world.store(&mut session, &stored).unwrap().unwrap()[0].key_id;
        past.push(world.server.store.clone());
        let pair = world.generate(&mut session, &[Kind::Bytes(32), Kind::Ed25519]).unwrap().unwrap();
        let pair: Vec<KeyId> =
            world.store(&mut session, &pair).unwrap().unwrap().iter().map(|new| new.key_id).collect();
        past.push(world.server.store.clone());
        let gone = world.secret(&mut session, Kind::Bytes(32)).key_id;
        let deleted = sealed(&world.server.store.secrets[&(session.user_id(), gone)]);
        past.push(world.server.store.clone());
        world.delete(&mut session, &[gone]).unwrap().unwrap();
        past.push(world.server.store.clone());
        let older = world.generate(&mut session, &[Kind::Bytes(32), Kind::Bytes(32)]).unwrap().unwrap();
        let old_wrap = wrap(&world.server.store.accounts[&name].record);
        world.change_password(&mut session, NEW_PASSWORD).unwrap().unwrap();
        let other_pin = session.pin();
        past.push(world.server.store.clone());
        let last = world.secret(&mut session, Kind::Secp256k1).key_id;
        let fresh = world.generate(&mut session, &[Kind::Bytes(32)]).unwrap().unwrap();

        let live: BTreeSet<KeyId> = [first, pair[0], pair[1], last].into();
        let store = &world.server.store;
        let material = Material {
            own: live.iter().map(|key_id| sealed(&store.secrets[&(session.user_id(), *key_id)])).collect(),
            deleted,
            foreign: sealed(&store.secrets[&(bob.user_id(), foreign)]),
            heads: heads(store, session.user_id()),
            foreign_head: heads(store, bob.user_id()).pop().unwrap(),
            wraps: vec![old_wrap, wrap(&store.accounts[&AccountName::new("bob").unwrap()].record)],
            other_user: bob.user_id(),
        };
        let kept = [pair[0], last];
        Self { world, client, session, live, kept, fresh, older, stored, other_pin, past, material }
    }

    /// Puts the vault back to an earlier store, without ending the session as an honest server would have to.
    pub fn put_back(&mut self, mut past: MemoryStore) {
        let name = self.client.account();
        if let Some(now) = self.world.server.store.accounts.get(name) {
            past.accounts.get_mut(name).unwrap().credential = now.credential;
        }
        self.world.server.store = past;
    }

    /// What a verified list shows, in this session.
    pub fn list(&mut self) -> Result<BTreeSet<KeyId>, String> {
        let exchange = self.session.list().map_err(|error| error.to_string())?;
        let listed = self.drive(exchange, &mut Lie::none())?;
        Ok(self.session.settle(listed).unwrap().iter().map(|secret| secret.key_id).collect())
    }

    /// Runs an exchange to its end, with a lie in one of the replies. An error of either side, or a refusal, is its text.
    pub fn drive<O: Operation>(&mut self, mut exchange: Exchange<O>, lie: &mut Lie) -> Result<O::Output, String> {
        loop {
            if lie.seen >= 40 {
                return Err("the exchange has no end".to_owned());
            }
            let honest = self.world.send(exchange.message()).map_err(|error| error.to_string())?;
            let answer = lie.tell(&self.world, &self.material, honest);
            match exchange.receive(answer) {
                Ok(None) => {}
                Ok(Some(outcome)) => return outcome.map_err(|refusal| format!("refused: {refusal}")),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

/// The reply that is replaced, and by which of the lies about it.
pub struct Lie {
    at: Option<(usize, usize)>,
    seen: usize,
    /// How many lies there are about each reply that went by.
    pub choices: Vec<usize>,
    /// The lie that was told.
    pub told: Option<String>,
}

impl Lie {
    pub fn none() -> Self {
        Self { at: None, seen: 0, choices: vec![], told: None }
    }

    pub fn at(reply: usize, number: usize) -> Self {
        Self { at: Some((reply, number)), ..Self::none() }
    }

    fn tell(&mut self, world: &World, material: &Material, honest: ServerMessage) -> ServerMessage {
        let number = self.seen;
        self.seen += 1;
        let (session_id, sequence) = match &honest {
            ServerMessage::Frame(frame) => (frame.session_id, frame.sequence),
            _ => {
                self.choices.push(0);
                return honest;
            }
        };
        let session = &world.server.sessions[&session_id];
        let reply: Reply = hostile::open_reply(session, honest.clone()).unwrap();
        let mut lies = lies::about(&reply, material);
        self.choices.push(lies.len());
        match self.at {
            Some((at, which)) if at == number => {
                let (name, lie) = lies.swap_remove(which);
                self.told = Some(name);
                hostile::reply(session, session_id, sequence, &lie).unwrap()
            }
            _ => honest,
        }
    }
}
