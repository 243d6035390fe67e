//! Floods, and batches over the bound: rule 23.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;

use super::{Bench, PASSWORD, Person, Row};
use crate::codec::MAX_BATCH;
use crate::id::{AccountName, KeyId, SessionId};
use crate::kind::Kind;
use crate::message::{ClientMessage, Frame};
use crate::operation::{Request, generate, list, retrieve};
use crate::suite::opaque::OpaqueMessage;
use crate::testing::hostile::{Verdict, fail};

pub(super) const ATTACKS: &[Row] = &[
    (23, "a flood of first messages that are refused", first_messages),
    (23, "a flood of messages of sessions that don't exist", no_sessions),
    (23, "a flood of wrong KE3s in one login", wrong_ke3s),
    (23, "batches over the bound, and empty ones", batches),
];

/// More than a small server has room for.
const FLOOD: u16 = 300;

impl Bench<'_> {
    /// Sends a flood, none of which may be answered; afterwards there are no more sessions than before, and an honest person
    /// gets in.
    fn flood(&mut self, what: &str, mut message: impl FnMut(u16) -> Verdict<ClientMessage>) -> Verdict {
        let client = self.register("ada")?;
        let before = self.server.sessions();
        for number in 0..FLOOD {
            self.expect_no_answer(what, &message(number)?)?;
        }
        let after = self.server.sessions();
        if after > before {
            return fail(format!("{before:?} sessions became {after:?}"));
        }
        match self.log_in(&client, PASSWORD) {
            Ok(Ok(_)) => Ok(()),
            _ => fail("an honest login finds no place any more"),
        }
    }
}

fn first_messages(bench: &mut Bench<'_>) -> Verdict {
    let (profile, prefix) = (bench.deployment.profile, bench.prefix.clone());
    bench.flood("a first message with a point that is none", |number| {
        let account = AccountName::new(format!("{prefix}{number}"))?;
        Ok(match number & 1 {
            0 => {
                ClientMessage::RegistrationRequest { account, blinded: Box::new(OpaqueMessage::from_bytes([0xff; 32])) }
            }
            _ => ClientMessage::LoginRequest { account, profile, ke1: Box::new(OpaqueMessage::from_bytes([0xff; 96])) },
        })
    })
}

fn no_sessions(bench: &mut Bench<'_>) -> Verdict {
    bench.flood("a message of no session", |number| {
        let [a, b] = number.to_be_bytes();
        let mut id = [b ^ 0x5a; 16];
        id.iter_mut().zip([a, b]).for_each(|(byte, value)| *byte = value);
        let session_id = SessionId::from_bytes(id);
        Ok(match number & 1 {
            0 => ClientMessage::LoginFinish { session_id, ke3: Box::new(OpaqueMessage::from_bytes([1; 64])) },
            _ => ClientMessage::Frame(Frame { session_id, sequence: 2, sealed: vec![0; 64] }),
        })
    })
}

fn wrong_ke3s(bench: &mut Bench<'_>) -> Verdict {
    let client = bench.register("eve")?;
    let exchange = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let session_id = bench.answer(exchange.message())?.session_id();
    bench.flood("a wrong KE3", |number| {
        let [a, b] = number.to_be_bytes();
        let mut ke3 = [0; 64];
        ke3.iter_mut().zip([a, b]).for_each(|(byte, value)| *byte = value);
        Ok(ClientMessage::LoginFinish { session_id, ke3: Box::new(OpaqueMessage::from_bytes(ke3)) })
    })
}

fn batches(bench: &mut Bench<'_>) -> Verdict {
    let Person { mut session, .. } = bench.person("ada")?;
    let ids = |count: usize| {
        let id = |number: u16| {
            let [a, b] = number.to_be_bytes();
            KeyId::from_bytes([a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        };
        (0..).map(id).take(count).collect()
    };
    let over = MAX_BATCH.saturating_add(1);
    let page = |limit| Request::List(list::Request { after: None, limit });
    let requests = [
        ("too many IDs", Request::Retrieve(retrieve::Request { key_ids: ids(over) })),
        ("no IDs", Request::Retrieve(retrieve::Request { key_ids: ids(0) })),
        ("too many kinds", Request::Generate(generate::Request { kinds: vec![Kind::Ed25519; over] })),
        ("no kinds", Request::Generate(generate::Request { kinds: vec![] })),
        ("too long a page", page(257)),
        ("an empty page", page(0)),
    ];
    for (what, request) in requests {
        bench.expect_refused(what, &mut session, &request)?;
    }
    bench.expect_list(&mut session, &[])
}
