//! Exchanges under way: the clients' operations, side by side, and how they end.

use std::rc::Rc;

use keystow::client::Operation;
use keystow::operation::Reply;
use keystow::operation::audit::AuditPage;
use keystow::operation::delete_account::Deleted;
use keystow::operation::list::ListedPage;
use keystow::{
    AccountName, ClientSession, Exchange, KeyId, NewSecret, PendingSecret, Registered, RetrievedSecret, ServerMessage,
    UserId,
};

use super::forgery::Forged;

/// An exchange of any operation.
pub trait UnderWay {
    /// The message's bytes.
    fn message(&self) -> Vec<u8>;

    /// Takes an answer; gives the exchange's end, if it is that.
    fn receive(&mut self, answer: ServerMessage) -> Option<End>;
}

/// How an exchange ended.
pub enum End {
    Registered(AccountName, Registered),
    LoggedIn(AccountName, bool, Box<ClientSession>),
    Pending(PendingSecrets),
    Stored(UserId, Vec<NewSecret>),
    Retrieved(UserId, Vec<KeyId>, Vec<RetrievedSecret>),
    Listed(UserId, ListedPage),
    Deleted(UserId, Vec<KeyId>),
    Audited(UserId, AuditPage),
    AccountDeleted(UserId, Deleted),
    Forged(UserId, Rc<Forged>, Reply),
    /// It did what it should, and leaves nothing to judge.
    Done,
    Refused,
}

/// An exchange, and what its output comes to.
struct Running<O: Operation, E> {
    exchange: Exchange<O>,
    end: E,
}

/// Takes an exchange, with what its output comes to.
pub fn under_way<O>(exchange: Exchange<O>, end: impl Fn(O::Output) -> End + 'static) -> Box<dyn UnderWay>
where
    O: Operation + 'static,
{
    Box::new(Running { exchange, end })
}

impl<O: Operation, E: Fn(O::Output) -> End> UnderWay for Running<O, E> {
    fn message(&self) -> Vec<u8> {
        self.exchange.message().encode().unwrap()
    }

    fn receive(&mut self, answer: ServerMessage) -> Option<End> {
        let before = self.exchange.message().clone();
        match self.exchange.receive(answer) {
            Ok(outcome) => match outcome? {
                Ok(output) => Some((self.end)(output)),
                Err(_refusal) => Some(End::Refused),
            },
            Err(_) => {
                assert_eq!(self.exchange.message(), &before, "an error moves an exchange on");
                None
            }
        }
    }
}
