//! The run as it is gone through again: what comes next, the sides' generators, frames.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::file::{hex, unhex};
use super::page::{Book, Suite, long, nonce, varint};
use super::run::{Inputs, Message, Vectors};

type Setup = opaque_ke::ServerSetup<Suite>;

/// An open session, as both sides know it.
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) id: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) client_to_server: [u8; 32],
    pub(crate) server_to_client: [u8; 32],
    pub(crate) seed: [u8; 32],
    pub(crate) export_key: Vec<u8>,
}

/// A request and its reply, and what the server draws its randomness from: the request's tag.
pub(crate) struct Framed {
    pub(crate) request: Vec<u8>,
    pub(crate) reply: Vec<u8>,
    pub(crate) tag: Vec<u8>,
}

/// What is computed so far.
pub(crate) struct Replay<'a> {
    pub(crate) book: Book,
    pub(crate) inputs: &'a Inputs,
    pub(crate) messages: std::slice::Iter<'a, Message>,
    pub(crate) client: ChaCha20Rng,
    pub(crate) server: ChaCha20Rng,
    pub(crate) setup: Setup,
}

pub(crate) fn drawn(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl<'a> Replay<'a> {
    pub(crate) fn new(run: &'a Vectors) -> Self {
        let (mut book, inputs) = (Book::default(), &run.inputs);
        let seed = drawn(&mut ChaCha20Rng::seed_from_u64(inputs.setup_seed));
        let mut draw = book.draw("server setup", &seed, b"server setup");
        let setup = Setup::new(&mut draw);
        book.drawn(draw);
        assert_eq!(hex(&[&[1], &setup.serialize()[..]].concat()), run.server_setup);
        Self {
            book,
            inputs,
            messages: run.messages.iter(),
            client: ChaCha20Rng::seed_from_u64(inputs.client_seed),
            server: ChaCha20Rng::seed_from_u64(inputs.server_seed),
            setup,
        }
    }

    pub(crate) fn message(&mut self) -> Vec<u8> {
        unhex(&self.messages.next().unwrap().bytes)
    }

    /// The next message is this one.
    pub(crate) fn expect(&mut self, name: &str, parts: &[&[u8]]) -> Vec<u8> {
        let bytes = parts.concat();
        assert_eq!(hex(&bytes), self.messages.next().unwrap().bytes, "{name}: not what the page says");
        bytes
    }

    /// 5: the first 16 bytes of SHA-256.
    pub(crate) fn fingerprint(&mut self, name: &str, message: &[u8]) -> Vec<u8> {
        self.book.hash(name, None, &[message])[..16].to_vec()
    }

    /// Section 6: a frame, opened: its tag and its contents.
    pub(crate) fn frame(&mut self, session: &Session, direction: u8) -> (Vec<u8>, Vec<u8>) {
        let bytes = self.message();
        let start = [&[1, 4], &session.id[..], &varint(session.sequence)].concat();
        let sealed = bytes.strip_prefix(&start[..]).expect("a frame's start");
        let sealed = (1..4).find_map(|len| (long(sealed.get(len..)?) == sealed).then(|| &sealed[len..])).unwrap();
        let (key, way) = match direction {
            0 => (&session.client_to_server, "request"),
            _ => (&session.server_to_client, "reply"),
        };
        let aad = [&[1, direction][..], &session.sequence.to_be_bytes()].concat();
        let name = format!("{}: frame {}, {way}", session.name, session.sequence);
        let body = self.book.open(&name, key, &nonce(session.sequence), &aad, sealed);
        (sealed[sealed.len() - 16..].to_vec(), body)
    }

    /// A request of the session and its reply.
    pub(crate) fn exchange(&mut self, session: &mut Session) -> Framed {
        let ((tag, request), (_, reply)) = (self.frame(session, 0), self.frame(session, 1));
        session.sequence += 1;
        Framed { request, reply, tag }
    }

    /// What the server drew for a request: 32 bytes.
    pub(crate) fn server_drew(&mut self, name: &str, session: &Session, framed: &Framed) -> [u8; 32] {
        let mut draw = self.book.draw(name, &session.seed, &framed.tag);
        let bytes = draw.bytes();
        self.book.drawn(draw);
        bytes
    }
}
