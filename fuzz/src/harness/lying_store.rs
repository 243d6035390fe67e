//! Target `lying_store`: honest clients, an honest server, and a store that lies to it.

use core::cell::RefCell;

use arbitrary::Unstructured;
use keystow::testing::{InMemoryServer, MemoryStore, converse};
use keystow::{
    AccountName, AuditFilter, Client, ClientPolicy, ClientSession, KeyId, KsfProfile, NewSecret, PendingSecrets,
    PlainSecret, Server, ServerPolicy, ServerSetup, UserId, VaultPin,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::action::{kind, kinds};
use super::deployment::IDENTITY;
use super::formats::check_key;
use super::input::input;
use super::lies::{ReadLie, WriteLie};
use super::pick;
use super::scene::{NOW, Scene};

const PASSWORD: &str = "correct horse battery staple";
/// The most moves that one input makes.
const MAX_MOVES: usize = 48;

input! {
    pub enum Move {
        /// A person or a device does something, from beginning to end.
        Do { who: u8, what: What },
        /// So the store will lie in one of the steps to come, after those that it will lie in already.
        Lie { after: u8, read: ReadLie, write: WriteLie },
        /// The store is put back to what it was so many transactions ago, and goes on from there.
        PutBack { ago: u8 },
    }
}

input! {
    pub enum What {
        LogIn { pin: Option<u8> },
        Generate { kinds: u8 },
        Import { kind: u8, byte: u8 },
        Store { batch: u8, rebased: bool },
        Retrieve { first: u8, count: u8 },
        List,
        Salvage,
        Delete { first: u8, count: u8 },
        VerifyPin { pin: u8 },
        ChangePassword,
        Audit { limit: u8 },
        Status,
        LogOut,
        DeleteAccount,
        Register,
    }
}

/// What an input stands for.
pub fn moves(data: &[u8]) -> Vec<Move> {
    let mut rest = Unstructured::new(data);
    let next = || (!rest.is_empty()).then(|| rest.arbitrary().ok()).flatten();
    core::iter::from_fn(next).take(MAX_MOVES).collect()
}

/// Target `lying_store`: an `Err` blames the stored data and changes no session, nothing leaves before the store has said that
/// it is written, and no client believes what its vault's heads contradict.
pub fn lying_store(data: &[u8]) {
    thread_local! {
        static START: RefCell<Start> = RefCell::new(Start::new());
    }
    let mut scene = START.with_borrow(Scene::new);
    for happens in moves(data) {
        match happens {
            Move::Do { who, what } => drop(scene.act(who, what)),
            Move::PutBack { ago } => scene.store.put_back(ago),
            Move::Lie { after, read, write } => {
                let honest = (ReadLie::No, WriteLie::No);
                scene.lies.extend(core::iter::repeat_n(honest, usize::from(after) % 4).chain([(read, write)]));
            }
        }
    }
}

/// Two accounts.
pub struct Start {
    pub server: Server,
    pub people: [Client; 3],
    pub pins: Vec<(AccountName, UserId, VaultPin)>,
    pub store: MemoryStore,
}

impl Start {
    fn new() -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let setup = ServerSetup::generate(rng).unwrap();
        let key = setup.server_key().unwrap();
        let policy = ServerPolicy { attempt_limit: 1_000, ..ServerPolicy::default() };
        let server = Server::new(setup, IDENTITY, policy).unwrap();
        let mut host = InMemoryServer::new(server.clone(), MemoryStore::new(), 2);
        let people = ["ada", "bob", "eve"].map(|name| {
            let policy = ClientPolicy::new([KsfProfile::CHEAP_FOR_TESTS]).unwrap();
            Client::new(AccountName::new(name).unwrap(), IDENTITY, policy).unwrap().pin_server_key(key)
        });
        let register = |client: &Client| {
            let registered = converse(client.register(PASSWORD, rng).unwrap(), &mut host, NOW).unwrap().unwrap();
            (client.account().clone(), registered.user_id, registered.pin)
        };
        let pins = people[..2].iter().map(register).collect();
        Self { server, people, pins, store: host.store }
    }
}

impl Scene {
    fn act(&mut self, who: u8, what: What) -> Option<()> {
        let mut rng = ChaCha20Rng::from_rng(&mut self.rng);
        match what {
            What::LogIn { pin } => return self.log_in(who, pin, &mut rng),
            What::Register => return self.register(&mut rng),
            _ => {}
        }
        let device = pick(&self.devices, who)?;
        let user_id = self.devices[device].user_id();
        match what {
            What::LogIn { .. } | What::Register => {}
            What::Generate { kinds: bits } => {
                let pending = self.start(device, |session| session.generate(&kinds(bits), &mut rng))?;
                self.keep(pending);
            }
            What::Import { kind: number, byte } => {
                let plain = PlainSecret::raw(kind(number), vec![byte; kind(number).secret_len() as usize]).ok()?;
                let pending = self.start(device, |session| session.import(vec![plain], &mut rng))?;
                self.keep(pending);
            }
            What::Store { batch, rebased } => self.store(device, batch, rebased)?,
            What::Retrieve { first, count } => {
                let key_ids = self.some_key_ids(first, count)?;
                let secrets = self.start(device, |session| session.retrieve(&key_ids))?;
                self.ledger.retrieved(user_id, &key_ids, &secrets);
                secrets.iter().for_each(check_key);
            }
            What::List => {
                let (listed, pin) = self.settle(device, ClientSession::list)?;
                if let Some(live) = self.forest.live(pin) {
                    assert!(listed.iter().map(|secret| &secret.key_id).eq(live), "another list than the head's");
                }
                self.ledger.listed(user_id, &listed);
            }
            What::Salvage => {
                let listed = self.start(device, ClientSession::salvage)?;
                self.ledger.listed(user_id, &listed);
            }
            What::Delete { first, count } => {
                let key_ids = self.some_key_ids(first, count)?;
                let ((), pin) = self.settle(device, |session| session.delete(&key_ids))?;
                let mut live = self.forest.live(pin).into_iter().flatten();
                assert!(!live.any(|key_id| key_ids.contains(key_id)), "a head without the deletion");
            }
            What::VerifyPin { pin } => {
                let (_, owner, shown) = self.pins[pick(&self.pins, pin)?].clone();
                self.is_strange = owner != user_id;
                let verified = self.settle(device, |session| session.verify_pin(shown));
                self.is_strange = false;
                let ((), after) = verified?;
                assert!(self.forest.leads(shown, after), "a pin of another path");
            }
            What::ChangePassword => {
                self.settle(device, |session| session.change_password(PASSWORD, &mut rng))?;
            }
            What::Audit { limit } => {
                let limit = u16::from(limit) + 1;
                let page = self.start(device, |session| session.audit(AuditFilter::default(), None, limit))?;
                assert!(page.entries.iter().all(|entry| entry.user_id() == user_id), "another's trail");
            }
            What::Status => drop(self.start(device, ClientSession::status)?),
            What::LogOut => {
                let exchange = self.devices.remove(device).log_out().unwrap();
                self.run(exchange, None)?;
            }
            What::DeleteAccount => self.start(device, ClientSession::delete_account)?,
        }
        Some(())
    }

    fn register(&mut self, rng: &mut ChaCha20Rng) -> Option<()> {
        let eve = self.people[2].clone();
        let registered = self.run(eve.register(PASSWORD, rng).unwrap(), None)?;
        self.forest.plant(registered.pin);
        self.pins.push((eve.account().clone(), registered.user_id, registered.pin));
        Some(())
    }

    /// A login leads to a head behind the pin's, on its path.
    fn log_in(&mut self, who: u8, pin: Option<u8>, rng: &mut ChaCha20Rng) -> Option<()> {
        let client = self.people[usize::from(who) % self.people.len()].clone();
        let kept: Vec<_> = self.pins.iter().filter(|(name, ..)| name == client.account()).collect();
        let kept = pin.and_then(|pin| Some(kept[pick(&kept, pin)?]));
        let pin = kept.map(|(_, _, pin)| *pin);
        let row = self.store.truth.accounts.get(client.account());
        // An unknown account, or one of the same name that has been deleted.
        self.is_strange = row.is_none_or(|row| kept.is_some_and(|(_, owner, _)| *owner != row.user_id));
        let login = self.run(client.log_in(PASSWORD, pin, rng).unwrap(), None);
        self.is_strange = false;
        let session = login?;
        assert!(self.forest.has(session.pin()), "a head that no device has sealed");
        assert!(
            pin.is_none_or(|pin| self.forest.leads(pin, session.pin())),
            "a vault that was put back is not noticed"
        );
        self.pins.push((client.account().clone(), session.user_id(), session.pin()));
        self.devices.push(session);
        Some(())
    }

    fn keep(&mut self, pending: PendingSecrets) {
        self.key_ids.extend(pending.key_ids());
        self.batches.push(pending);
    }

    fn store(&mut self, device: usize, batch: u8, rebased: bool) -> Option<()> {
        let pending = self.batches[pick(&self.batches, batch)?].clone();
        let user_id = self.devices[device].user_id();
        let pending = if rebased { self.devices[device].rebase(&pending) } else { Ok(pending) };
        let pending = pending.ok()?;
        if super::forgery::sealed(&pending)[0].header.user_id() != user_id {
            return None;
        }
        let (stored, pin) = self.settle(device, |session| session.store(&pending))?;
        assert!(stored.iter().map(|secret| secret.key_id).eq(pending.key_ids()), "other secrets are stored");
        for NewSecret { key_id, already_stored, .. } in stored {
            let is_there = self.forest.live(pin).is_none_or(|live| live.contains(&key_id));
            let was_there = already_stored && self.forest.was_ever(pin, &key_id);
            assert!(is_there || was_there, "what no head has taken up is called stored");
        }
        Some(())
    }

    /// 1 to 256 of all the key IDs that were ever made.
    fn some_key_ids(&self, first: u8, count: u8) -> Option<Vec<KeyId>> {
        let first = pick(&self.key_ids, first)?;
        Some(self.key_ids[first..].iter().take(1 + usize::from(count)).copied().collect())
    }
}
