//! A network that drops, repeats and reorders: the end is that of the plain run.

use std::sync::LazyLock;

use keystow::testing::MemoryStore;
use keystow::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{NOW, PASSWORD, World, client, world};

/// What happens next on the network. Messages under way are picked in any order.
#[derive(Clone, Debug)]
enum Event {
    /// The client sends its message, for the first time or again.
    Send,
    /// A request reaches the server; a copy may stay under way.
    ToServer { which: Index, copy: bool },
    /// A reply reaches the client; a copy may stay under way.
    ToClient { which: Index, copy: bool },
    /// A request, or a reply, is lost.
    Lose { which: Index, reply: bool },
}

fn event() -> impl Strategy<Value = Event> {
    let picked = || (any::<Index>(), any::<bool>());
    prop_oneof![
        3 => Just(Event::Send),
        3 => picked().prop_map(|(which, copy)| Event::ToServer { which, copy }),
        3 => picked().prop_map(|(which, copy)| Event::ToClient { which, copy }),
        1 => picked().prop_map(|(which, reply)| Event::Lose { which, reply }),
    ]
}

struct Network<I> {
    world: World,
    schedule: I,
    requests: Vec<Vec<u8>>,
    replies: Vec<Vec<u8>>,
}

/// Takes a message from those under way.
fn pick(under_way: &mut Vec<Vec<u8>>, which: &Index, copy: bool) -> Option<Vec<u8>> {
    if under_way.is_empty() {
        return None;
    }
    let at = which.index(under_way.len());
    Some(if copy { under_way[at].clone() } else { under_way.swap_remove(at) })
}

impl<I: Iterator<Item = Event>> Network<I> {
    /// Runs an exchange over whatever the schedule says; when that is over, over a network that works. What is
    /// under way at the end of one exchange turns up in the next.
    fn run<O: client::Operation>(&mut self, mut exchange: Exchange<O>) -> O::Output {
        while let Some(event) = self.schedule.next() {
            let reply = self.happen(event, exchange.message());
            let taken = reply.map(|reply| exchange.receive(ServerMessage::decode(&reply).unwrap()));
            if let Some(Ok(Some(outcome))) = taken {
                return outcome.unwrap();
            }
        }
        self.world.run(exchange).unwrap().unwrap()
    }

    /// Gives the reply that reaches the client, if one does.
    fn happen(&mut self, event: Event, message: &ClientMessage) -> Option<Vec<u8>> {
        match event {
            Event::Send => self.requests.push(message.encode().unwrap()),
            Event::ToServer { which, copy } => {
                let request = pick(&mut self.requests, &which, copy)?;
                self.replies.extend(self.world.server.handle(&request, NOW));
            }
            Event::ToClient { which, copy } => return pick(&mut self.replies, &which, copy),
            Event::Lose { which, reply: true } => drop(pick(&mut self.replies, &which, false)),
            Event::Lose { which, reply: false } => drop(pick(&mut self.requests, &which, false)),
        }
        None
    }
}

/// Everything that the operations end with.
type Ending = (Registered, PendingSecrets, Vec<NewSecret>, Vec<Vec<u8>>, MemoryStore);

/// Register, log in, generate, store, retrieve: messages of each meet late ones of those before.
fn run(schedule: &[Event]) -> Ending {
    let schedule = schedule.iter().cloned();
    let mut network = Network { world: world(1), schedule, requests: Vec::new(), replies: Vec::new() };
    let client = client("ada");
    let register = client.register(PASSWORD, &mut network.world.rng).unwrap();
    let registered = network.run(register);
    let login = client.log_in(PASSWORD, None, &mut network.world.rng).unwrap();
    let mut session = network.run(login);
    let generate = session.generate(&[Kind::Bytes(40), Kind::Ed25519], &mut network.world.rng).unwrap();
    let pending = network.run(generate);
    let stored = network.run(session.store(&pending).unwrap());
    let stored = session.settle(stored).unwrap();
    let key_ids: Vec<_> = stored.iter().map(|new| new.key_id).collect();
    let secrets = network.run(session.retrieve(&key_ids).unwrap());
    let secrets = secrets.iter().map(|secret| secret.expose().to_vec()).collect();
    (registered, pending, stored, secrets, network.world.server.store)
}

static PLAIN: LazyLock<Ending> = LazyLock::new(|| run(&[]));

proptest! {
    #![proptest_config(crate::cases(600))]

    #[test]
    fn any_loss_repetition_and_reordering_of_messages_ends_with_what_the_plain_run_gives(
        schedule in vec(event(), 0..120),
    ) {
        prop_assert!(run(&schedule) == *PLAIN);
    }
}
