//! What the attackers of a list share: the records of a vault with a history, forged pages, and what the client says.

use keystow::operation::list::List;
use keystow::operation::{Reply, list};
use keystow::testing::MemoryStore;
use keystow::*;

use super::ids;
use crate::hostile::{fault, forge, sealed};
use crate::support::{World, world};

pub const KINDS: [Kind; 3] = [Kind::Bytes(32), Kind::Secp256k1, Kind::Ed25519];

/// A person with a secret of each kind, as the server holds them, in order of their key IDs.
pub fn held(world: &mut World, account: &str) -> (ClientSession, Vec<SealedSecret>) {
    let (_, mut session) = world.person(account);
    let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
    world.store(&mut session, &pending).unwrap().unwrap();
    (session, sorted(sealed(&pending)))
}

pub fn sorted(mut secrets: Vec<SealedSecret>) -> Vec<SealedSecret> {
    secrets.sort_by_key(key_id);
    secrets
}

pub fn key_id(secret: &SealedSecret) -> KeyId {
    secret.header.key_id()
}

pub fn key_ids(secrets: &[SealedSecret]) -> Vec<KeyId> {
    secrets.iter().map(key_id).collect()
}

/// A vault with a history of three changes: a secret of each kind is stored, then one more, which is deleted then. One
/// was made and never stored.
pub struct Scene {
    pub world: World,
    pub client: Client,
    pub session: ClientSession,
    /// What is in the vault.
    pub own: Vec<SealedSecret>,
    pub deleted: SealedSecret,
    pub unstored: SealedSecret,
    /// The store before the first change, and after each.
    pub past: Vec<MemoryStore>,
}

impl Scene {
    pub fn new(seed: u64) -> Self {
        let mut world = world(seed);
        let (client, mut session) = world.person("ada");
        let mut past = vec![world.server.store.clone()];
        let pending = world.generate(&mut session, &KINDS).unwrap().unwrap();
        world.store(&mut session, &pending).unwrap().unwrap();
        past.push(world.server.store.clone());
        let gone = world.generate(&mut session, &KINDS[..1]).unwrap().unwrap();
        world.store(&mut session, &gone).unwrap().unwrap();
        past.push(world.server.store.clone());
        world.delete(&mut session, &gone.key_ids().collect::<Vec<_>>()).unwrap().unwrap();
        past.push(world.server.store.clone());
        let never = world.generate(&mut session, &KINDS[..1]).unwrap().unwrap();
        let (own, deleted, unstored) = (sorted(sealed(&pending)), sealed(&gone).remove(0), sealed(&never).remove(0));
        Self { world, client, session, own, deleted, unstored, past }
    }
}

/// A page that says it is of the first change of the vault.
pub fn page(secrets: &[SealedSecret], next: Option<KeyId>) -> Reply {
    page_of(1, secrets, next)
}

pub fn page_of(epoch: u64, secrets: &[SealedSecret], next: Option<KeyId>) -> Reply {
    Reply::List(list::Reply { secrets: secrets.to_vec(), next, epoch })
}

/// A list after these answers, all of which are taken, and each of which makes it go on.
pub fn after(world: &World, session: &mut ClientSession, answers: &[Reply]) -> Exchange<List> {
    let mut exchange = session.list().unwrap();
    for answer in answers {
        assert!(exchange.receive(forge(world, &exchange, answer)).unwrap().is_none(), "{answer:?}");
    }
    exchange
}

/// What a list comes to that is honest from now on.
pub fn rest(world: &mut World, session: &mut ClientSession, exchange: Exchange<List>) -> Vec<KeyId> {
    ids(&world.settled(session, exchange).unwrap().unwrap())
}

/// What the client says to a lie behind these answers, which are true. The error has changed nothing: the honest answer
/// is still taken, and the list is complete.
pub fn told(
    world: &mut World,
    session: &mut ClientSession,
    own: &[SealedSecret],
    truth: &[Reply],
    lie: &Reply,
) -> Error {
    let mut exchange = after(world, session, truth);
    let error = fault(exchange.receive(forge(world, &exchange, lie)));
    assert_eq!(rest(world, session, exchange), key_ids(own));
    error
}

pub fn mismatch(what: &'static str) -> Error {
    PeerFault::Mismatch(what).into()
}

pub fn damaged(secret: &SealedSecret) -> Error {
    PeerFault::DamagedSecret { key_id: key_id(secret) }.into()
}

pub fn vault(fault: VaultFault) -> Error {
    PeerFault::Vault(fault).into()
}

pub fn count(expected: u64, listed: u64) -> Error {
    vault(VaultFault::Count { expected, listed })
}
