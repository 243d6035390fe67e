//! Frames: damage of any kind is refused and leaves both sides as they were.

use std::sync::LazyLock;

use keystow::testing::{DriveError, MemoryStore};
use keystow::*;
use proptest::prelude::*;

use super::tamper::{Tamper, tamper};
use crate::support::{NOW, PASSWORD, World, client, world};

/// The frames of a run, in order: Welcome, then request and reply of the login's heads, generate, store and retrieve.
const FRAMES: usize = 9;

/// What is damaged of a frame.
#[derive(Clone, Debug)]
enum Damage {
    /// Its message's bytes.
    Message(Tamper),
    /// Its sealed contents alone, in a message that is well-formed.
    Sealed(Tamper),
    /// Its number: one bit.
    Sequence(u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        2 => tamper().prop_map(Damage::Message),
        2 => tamper().prop_map(Damage::Sealed),
        1 => (0..64u32).prop_map(Damage::Sequence),
    ]
}

impl Damage {
    fn frame(&self, frame: &Frame) -> Frame {
        match self {
            Self::Message(_) => frame.clone(),
            Self::Sealed(tamper) => Frame { sealed: tamper.apply(&frame.sealed), ..frame.clone() },
            Self::Sequence(bit) => Frame { sequence: frame.sequence ^ (1 << bit), ..frame.clone() },
        }
    }

    fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        if let Self::Message(tamper) = self { tamper.apply(&bytes) } else { bytes }
    }

    fn request(&self, frame: &Frame) -> Vec<u8> {
        self.bytes(ClientMessage::Frame(self.frame(frame)).encode().unwrap())
    }

    fn reply(&self, frame: &Frame) -> Vec<u8> {
        self.bytes(ServerMessage::Frame(self.frame(frame)).encode().unwrap())
    }
}

/// A run in which the frame number `at` arrives damaged first, and then as it was sent.
struct Run<'a> {
    world: World,
    at: usize,
    damage: Option<&'a Damage>,
    crossed: Vec<Vec<u8>>,
}

impl Run<'_> {
    /// The damage that the next frame meets.
    fn due(&self) -> Option<&Damage> {
        self.damage.filter(|_| self.crossed.len() == self.at)
    }

    fn exchange<O: client::Operation>(&mut self, mut exchange: Exchange<O>) -> O::Output {
        loop {
            let request = exchange.message().clone();
            if let ClientMessage::Frame(frame) = &request {
                self.due().map(|damage| damage.request(frame)).inspect(|bytes| self.world.refuses(bytes));
                self.crossed.push(request.encode().unwrap());
            }
            let reply = self.world.send(&request).unwrap();
            if let ServerMessage::Frame(frame) = &reply {
                self.due().map(|damage| damage.reply(frame)).inspect(|bytes| refuses(&mut exchange, bytes));
                self.crossed.push(reply.encode().unwrap());
            }
            if let Some(outcome) = exchange.receive(reply).unwrap() {
                return outcome.unwrap();
            }
        }
    }
}

impl World {
    /// The server takes nothing from these bytes: no answer, no write, no session.
    fn refuses(&mut self, bytes: &[u8]) {
        let sessions = |world: &Self| world.server.sessions.keys().copied().collect::<Vec<_>>();
        let before = (self.server.store.clone(), sessions(self));
        let answer = self.server.handle(bytes, NOW);
        assert!(matches!(answer, Err(DriveError::Protocol(Error::Peer(_)))), "{answer:?}");
        assert_eq!((self.server.store.clone(), sessions(self)), before);
    }
}

/// The client takes nothing from these bytes, and waits on.
fn refuses<O: client::Operation>(exchange: &mut Exchange<O>, bytes: &[u8]) {
    let before = exchange.message().clone();
    let taken = ServerMessage::decode(bytes).and_then(|reply| exchange.receive(reply).map(|_| ()));
    assert!(matches!(taken, Err(Error::Peer(_))), "{taken:?}");
    assert_eq!(*exchange.message(), before);
}

/// Everything that a run ends with: its frames, the secrets, the store.
type Ending = (Vec<Vec<u8>>, Vec<Vec<u8>>, MemoryStore);

fn run(at: usize, damage: Option<&Damage>) -> Ending {
    let mut run = Run { world: world(1), at, damage, crossed: Vec::new() };
    let client = client("ada");
    run.world.register(&client, PASSWORD).unwrap().unwrap();
    let login = client.log_in(PASSWORD, None, &mut run.world.rng).unwrap();
    let mut session = run.exchange(login);
    let generate = session.generate(&[Kind::Bytes(40), Kind::Secp256k1], &mut run.world.rng).unwrap();
    let pending = run.exchange(generate);
    let stored = run.exchange(session.store(&pending).unwrap());
    let stored = session.settle(stored).unwrap();
    let key_ids: Vec<_> = stored.iter().map(|new| new.key_id).collect();
    let secrets = run.exchange(session.retrieve(&key_ids).unwrap());
    (run.crossed, secrets.iter().map(|secret| secret.expose().to_vec()).collect(), run.world.server.store)
}

static PLAIN: LazyLock<Ending> = LazyLock::new(|| run(0, None));

#[test]
fn a_plain_run_has_nine_frames() {
    assert_eq!(PLAIN.0.len(), FRAMES);
}

proptest! {
    #![proptest_config(crate::cases(800))]

    /// "As it was": from the damaged frame on, the run is the plain one to the byte.
    #[test]
    fn a_damaged_frame_is_refused_and_the_honest_one_after_it_goes_on_as_in_the_plain_run(
        at in 0..FRAMES,
        damage in damage(),
    ) {
        prop_assert!(run(at, Some(&damage)) == *PLAIN);
    }
}
