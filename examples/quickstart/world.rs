//! The one process's key server, its store, and messages that are printed as they cross.

use std::error::Error;
use std::time::SystemTime;

use keystow::client::Operation;
use keystow::testing::{InMemoryServer, MemoryStore};
use keystow::{
    ClientMessage, ClientSession, Exchange, Kind, NewSecret, Server, ServerMessage, ServerPolicy, ServerSetup,
    Timestamp, Unsettled,
};
use rand_core::UnwrapErr;

pub(crate) const IDENTITY: &str = "keys.example.com";

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The one process's key server and its store.
pub(crate) struct World {
    pub(crate) server: InMemoryServer<MemoryStore>,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let mut rng = UnwrapErr(getrandom::SysRng);
        let server = Server::new(ServerSetup::generate(&mut rng)?, IDENTITY, ServerPolicy::default())?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        Ok(Self { server: InMemoryServer::new(server, MemoryStore::new(), u64::from_ne_bytes(seed)) })
    }

    /// The system's generator.
    pub(crate) fn rng(&self) -> UnwrapErr<getrandom::SysRng> {
        UnwrapErr(getrandom::SysRng)
    }

    /// Runs an exchange to its end, and prints each message as it crosses.
    pub(crate) fn converse<O: Operation>(&mut self, what: &str, mut exchange: Exchange<O>) -> Result<O::Output> {
        loop {
            let request = exchange.message().encode()?;
            println!("   client -> server  {:<30}{:>6} bytes", client_step(exchange.message(), what), request.len());
            let answer = self.server.handle(&request, now()?)?;
            let message = ServerMessage::decode(&answer)?;
            println!("   client <- server  {:<30}{:>6} bytes", server_step(&message, what), answer.len());
            if let Some(outcome) = exchange.receive(message)? {
                return Ok(outcome?);
            }
        }
    }

    /// The same for an exchange that moves the vault's head on, or compares with it: its session takes the head over.
    pub(crate) fn settle<T, O>(&mut self, what: &str, session: &mut ClientSession, exchange: Exchange<O>) -> Result<T>
    where
        O: Operation<Output = Unsettled<T>>,
    {
        let unsettled = self.converse(what, exchange)?;
        // Right after this, and before it reports success, an application keeps `session.pin()`.
        Ok(session.settle(unsettled)?)
    }

    pub(crate) fn make_secret(&mut self, session: &mut ClientSession, kind: Kind) -> Result<NewSecret> {
        let generate = session.generate(&[kind], &mut self.rng())?;
        let pending = self.converse(" generate", generate)?;
        // Here an application would keep `pending`: it can be stored as it is after a crash.
        let store = session.store(&pending)?;
        let stored = self.settle(" store", session, store)?;
        stored.into_iter().next().ok_or_else(|| "nothing was stored".into())
    }
}

fn client_step(message: &ClientMessage, what: &str) -> String {
    match message {
        ClientMessage::RegistrationRequest { .. } => "RegistrationRequest".to_string(),
        ClientMessage::RegistrationUpload { .. } => "RegistrationUpload".to_string(),
        ClientMessage::LoginRequest { .. } => "LoginRequest (KE1)".to_string(),
        ClientMessage::LoginFinish { .. } => "LoginFinish (KE3)".to_string(),
        ClientMessage::Frame(frame) => format!("Frame {}{}", frame.sequence, or_heads(what)),
    }
}

/// A login's own frames ask for the vault's heads.
fn or_heads(what: &str) -> &str {
    if what.is_empty() { " heads" } else { what }
}

fn server_step(message: &ServerMessage, what: &str) -> String {
    match message {
        ServerMessage::RegistrationResponse { .. } => "RegistrationResponse".to_string(),
        ServerMessage::Registered { .. } => "Registered".to_string(),
        ServerMessage::LoginResponse { .. } => "LoginResponse (KE2)".to_string(),
        ServerMessage::Refused { refusal, .. } => format!("Refused: {refusal}"),
        ServerMessage::Frame(frame) if frame.sequence == 1 => "Frame 1 welcome".to_string(),
        ServerMessage::Frame(frame) => format!("Frame {}{}", frame.sequence, or_heads(what)),
    }
}

pub(crate) fn now() -> Result<Timestamp> {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(u64::try_from(elapsed.as_millis())?))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
