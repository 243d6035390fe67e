//! The scene of a run: what both sides have, in memory and for good, and what fate has done to them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use keystow::storage::{Query, Transaction};
use keystow::testing::MemoryStore;
use keystow::*;
use rand_chacha::ChaCha20Rng;

use crate::fate::{Cut, Fate};
use crate::ledger::Ledger;
use crate::lies::Stranger;
use crate::support::{IDENTITY, PASSWORD, client, rng};

/// Why a program didn't come to its end.
#[derive(Debug)]
pub enum Stop {
    /// It is gone.
    Crash,
    /// What it was told instead of what it asked for.
    Refused(Error),
    /// What would follow is known.
    Known,
}

/// What a device keeps, durably.
#[derive(Clone, Debug, Hash)]
pub struct Disk {
    pub pin: Option<[u8; VaultPin::LEN]>,
    pub pending: Option<Vec<u8>>,
    /// The passwords that may be the account's, the likeliest first.
    pub passwords: Vec<&'static str>,
    /// The last message of a registration was sent.
    pub uploaded: bool,
    /// The account's deletion was begun.
    pub deleting: bool,
    /// What the person wanted is done.
    pub done: bool,
}

/// The transaction of another device, and the record that comes of it.
pub type Faster = (Transaction, (KeyId, Vec<u8>));

/// A session in its slot, and what it has taken, by its hash.
pub struct Slot {
    pub session: ServerSession,
    pub taken: u64,
}

pub struct Scene<'k> {
    pub fate: Fate,
    pub nodes: Vec<Server>,
    /// The node that takes the next message.
    pub up: usize,
    pub crashes: u64,
    pub slots: BTreeMap<SessionId, Slot>,
    pub store: MemoryStore,
    pub client: Client,
    pub rng: ChaCha20Rng,
    pub disk: Disk,
    /// What has crossed since the device's program was started, by its hash.
    pub trace: u64,
    /// Whether the first login is over, which isn't cut where a flow begins in an open session.
    pub entered: bool,
    /// What another device does where it is faster, and the record that comes of it.
    pub faster: Option<Faster>,
    /// The last transaction that was applied.
    pub applied: Option<Transaction>,
    pub late: Vec<ClientMessage>,
    /// What the device may be told, since a condition didn't hold.
    pub provoked: Vec<Error>,
    pub ledger: Ledger,
    /// The records of the secrets that must be there in the end.
    pub truth: BTreeMap<KeyId, Vec<u8>>,
    /// Those that were there in the beginning.
    pub old: Vec<KeyId>,
    pub stranger: Option<Rc<Stranger>>,
    pub queries: Vec<Query>,
    pub operations: BTreeSet<&'static str>,
    pub tells_nonsense: bool,
    pub nonsense: usize,
    pub known: &'k HashSet<u64>,
    pub state: Option<u64>,
}

pub fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// One node, or two of a fleet.
pub fn nodes(fleet: bool) -> Vec<Server> {
    vec![server(fleet); 1 + usize::from(fleet)]
}

fn server(fleet: bool) -> Server {
    let setup = ServerSetup::generate(&mut rng(1)).unwrap();
    let policy = ServerPolicy::default();
    if fleet {
        Server::in_fleet(setup, IDENTITY, policy, FleetKey::from_bytes(&[1; 32]).unwrap()).unwrap()
    } else {
        Server::new(setup, IDENTITY, policy).unwrap()
    }
}

impl<'k> Scene<'k> {
    /// An empty store behind these nodes.
    pub fn new(nodes: Vec<Server>, known: &'k HashSet<u64>) -> Self {
        let passwords = vec![PASSWORD];
        let disk = Disk { pin: None, pending: None, passwords, uploaded: false, deleting: false, done: false };
        Self {
            fate: Fate::asleep(),
            nodes,
            up: 0,
            crashes: 0,
            slots: BTreeMap::new(),
            store: MemoryStore::new(),
            client: client("ada"),
            rng: rng(2),
            disk,
            trace: 0,
            entered: false,
            faster: None,
            applied: None,
            late: Vec::new(),
            provoked: Vec::new(),
            ledger: Ledger::default(),
            truth: BTreeMap::new(),
            old: Vec::new(),
            stranger: None,
            queries: Vec::new(),
            operations: BTreeSet::new(),
            tells_nonsense: false,
            nonsense: 0,
            known,
            state: None,
        }
    }

    pub fn is_fleet(&self) -> bool {
        self.nodes.len() > 1
    }

    /// A point: whether the run is cut here, and how.
    pub fn point(&mut self, place: &'static str, possible: &[Cut]) -> Result<Option<Cut>, Stop> {
        if !self.fate.asleep && self.fate.struck() > 0 && self.fate.is_over() && self.state.is_none() {
            let state = self.hash_of(place);
            self.state = Some(state);
            if self.known.contains(&state) {
                return Err(Stop::Known);
            }
        }
        Ok(self.fate.cut(possible))
    }

    /// A point of the client's, where it can only crash.
    pub fn client_point(&mut self, place: &'static str) -> Result<(), Stop> {
        match self.point(place, &[Cut::ClientCrashes])? {
            Some(_) => Err(Stop::Crash),
            None => Ok(()),
        }
    }

    /// All that the rest of the run depends on.
    pub fn hash_of(&self, place: &'static str) -> u64 {
        let MemoryStore { accounts, attempts, secrets, gone, heads, sessions, audit } = &self.store;
        let accounts: Vec<_> = accounts.values().map(|row| (row.epoch, &row.record)).collect();
        let rows = sessions.values().map(|row| (row.session.version, &row.session.sealed, &row.session.resolution));
        let rows: Vec<_> = rows.collect();
        let entries: Vec<_> = audit.keys().collect();
        let store = hash((accounts, format!("{attempts:?}"), secrets, format!("{gone:?}"), heads, rows, entries));
        let slots: Vec<_> = self.slots.iter().map(|(id, slot)| (id.as_bytes(), slot.taken)).collect();
        let late: Vec<_> = self.late.iter().map(|message| message.encode().unwrap()).collect();
        let device = hash((&self.disk, self.trace, self.entered, self.rng.get_word_pos()));
        let past = hash((late, format!("{:?}", self.provoked), &self.ledger));
        hash((place, store, slots, self.up, self.crashes, device, past))
    }

    /// The pin of Ada's vault at an epoch.
    pub fn pin_of(&self, epoch: u64) -> VaultPin {
        let row = &self.store.accounts[self.client.account()];
        let head: SealedHead = postcard::from_bytes(&self.store.heads[&(row.user_id, epoch)][1..]).unwrap();
        head.pin()
    }

    pub fn trace(&mut self, event: impl Hash) {
        self.trace = hash((self.trace, event));
    }
}
