//! Exchanges under way: the clients' operations, side by side, and how they end.

use std::rc::Rc;

use keystow::client::{Framed, Operation};
use keystow::operation::{
    Reply, generate::Generate, log_in::LogIn, register::Register, retrieve::Retrieve, store::Store,
};
use keystow::testing::hostile::AnyReply;
use keystow::{
    AccountName, ClientSession, Exchange, KeyId, NewSecret, PendingSecret, Refusal, Registered, RetrievedSecret,
    ServerMessage, UserId,
};

use super::forgery::Forged;

/// An exchange, and what is needed to judge its end.
pub enum UnderWay {
    Register { exchange: Exchange<Register>, name: AccountName },
    LogIn { exchange: Exchange<LogIn>, name: AccountName, guess: bool },
    Generate { exchange: Exchange<Framed<Generate>> },
    Store { exchange: Exchange<Framed<Store>>, user_id: UserId },
    Retrieve { exchange: Exchange<Framed<Retrieve>>, user_id: UserId, key_ids: Vec<KeyId> },
    Forged { exchange: Exchange<Framed<AnyReply>>, user_id: UserId, forged: Rc<Forged> },
}

/// How an exchange ended.
pub enum End {
    Registered(AccountName, Registered),
    LoggedIn(AccountName, bool, Box<ClientSession>),
    Generated(Vec<PendingSecret>),
    Stored(UserId, Vec<NewSecret>),
    Retrieved(UserId, Vec<KeyId>, Vec<RetrievedSecret>),
    Forged(UserId, Rc<Forged>, Reply),
    Refused,
}

impl UnderWay {
    pub fn message(&self) -> Vec<u8> {
        let message = match self {
            Self::Register { exchange, .. } => exchange.message(),
            Self::LogIn { exchange, .. } => exchange.message(),
            Self::Generate { exchange, .. } => exchange.message(),
            Self::Store { exchange, .. } => exchange.message(),
            Self::Retrieve { exchange, .. } => exchange.message(),
            Self::Forged { exchange, .. } => exchange.message(),
        };
        message.encode().unwrap()
    }

    /// Takes an answer; gives the exchange's end, if it is that.
    pub fn receive(&mut self, answer: ServerMessage) -> Option<End> {
        let end = match self {
            Self::Register { exchange, name } => {
                receive(exchange, answer)?.map(|registered| End::Registered(name.clone(), registered))
            }
            Self::LogIn { exchange, name, guess } => {
                receive(exchange, answer)?.map(|session| End::LoggedIn(name.clone(), *guess, Box::new(session)))
            }
            Self::Generate { exchange } => receive(exchange, answer)?.map(End::Generated),
            Self::Store { exchange, user_id } => receive(exchange, answer)?.map(|batch| End::Stored(*user_id, batch)),
            Self::Retrieve { exchange, user_id, key_ids } => {
                receive(exchange, answer)?.map(|secrets| End::Retrieved(*user_id, key_ids.clone(), secrets))
            }
            Self::Forged { exchange, user_id, forged } => {
                receive(exchange, answer)?.map(|reply| End::Forged(*user_id, Rc::clone(forged), reply))
            }
        };
        Some(end.unwrap_or(End::Refused))
    }
}

/// Takes an answer; an error leaves the exchange as it was.
fn receive<O: Operation>(exchange: &mut Exchange<O>, answer: ServerMessage) -> Option<Result<O::Output, Refusal>> {
    let before = exchange.message().clone();
    match exchange.receive(answer) {
        Ok(outcome) => outcome,
        Err(_) => {
            assert_eq!(exchange.message(), &before, "an error moves an exchange on");
            None
        }
    }
}
