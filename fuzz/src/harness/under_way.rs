//! Exchanges under way: the clients' operations, side by side, and how they end.

use std::rc::Rc;

use keystow::client::Operation;
use keystow::operation::Reply;
use keystow::operation::audit::AuditPage;
use keystow::operation::list::ListedSecret;
use keystow::{
    AccountName, CallerFault, ClientSession, Error, Exchange, KeyId, NewSecret, PeerFault, PendingSecrets, Refusal,
    Registered, RetrievedSecret, ServerMessage, Unsettled, UserId, VaultFault, VaultPin,
};

use super::action::Settle;
use super::clients::Device;
use super::forgery::Forged;

/// An exchange of any operation.
pub trait UnderWay {
    /// The message's bytes.
    fn message(&self) -> Vec<u8>;

    /// Takes an answer.
    fn receive(&mut self, answer: ServerMessage) -> Received;
}

/// What an answer comes to.
pub enum Received {
    /// Nothing: it is not the awaited one, or it was damaged on the way.
    Nothing,
    /// Another message to send.
    Another,
    /// It is authentic, and says what can't be: that is the store's doing, or a hostile device's.
    Wrong(PeerFault),
    /// It is authentic, and says that the vault is not as it should be. Never without somebody to blame.
    Fault(VaultFault),
    /// The account is being deleted.
    Closed,
    Ended(End),
}

/// How an exchange ended.
pub enum End {
    Registered(AccountName, Registered),
    LoggedIn(LoggedIn),
    Pending(PendingSecrets),
    Stored(UserId, Vec<NewSecret>),
    Retrieved(UserId, Vec<KeyId>, Vec<RetrievedSecret>),
    Listed(UserId, Vec<ListedSecret>),
    /// From this head on, it can't be older.
    Salvaged(UserId, u64, Vec<ListedSecret>),
    Deleted(UserId, Vec<KeyId>),
    /// Whose pin it was that was found on whose chain.
    Verified(UserId, UserId, VaultPin),
    Audited(UserId, AuditPage),
    AccountDeleted(UserId),
    Forged(UserId, Rc<Forged>, Reply),
    /// Its device has to settle it.
    Unsettled(PutOff),
    /// It did what it should, and leaves nothing to judge.
    Done,
    Refused(Refusal),
}

/// A login that was granted.
pub struct LoggedIn {
    pub name: AccountName,
    pub guess: bool,
    /// The pin that it was begun with, and whose it is.
    pub pin: Option<(UserId, VaultPin)>,
    pub session: Box<ClientSession>,
}

/// What an exchange gave that its device has not settled yet.
pub struct PutOff {
    pub device: usize,
    pub when: Settle,
    pub settle: Box<dyn FnOnce(&mut ClientSession) -> End>,
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

/// Takes an exchange whose output its device has to settle, with what that comes to then.
pub fn unsettled<T, O>(
    device: &Device,
    exchange: Exchange<O>,
    when: Settle,
    end: impl Fn(T) -> End + 'static,
) -> Box<dyn UnderWay>
where
    O: Operation<Output = Unsettled<T>> + 'static,
    T: 'static,
{
    let (device, end) = (device.number, Rc::new(end));
    under_way(exchange, move |output| {
        let end = Rc::clone(&end);
        let settle = Box::new(move |session: &mut ClientSession| end(session.settle(output).unwrap()));
        End::Unsettled(PutOff { device, when, settle })
    })
}

impl<O: Operation, E: Fn(O::Output) -> End> UnderWay for Running<O, E> {
    fn message(&self) -> Vec<u8> {
        self.exchange.message().encode().unwrap()
    }

    fn receive(&mut self, answer: ServerMessage) -> Received {
        let before = self.exchange.message().clone();
        let error = match self.exchange.receive(answer) {
            Ok(None) => return Received::Another,
            Ok(Some(Ok(output))) => return Received::Ended((self.end)(output)),
            Ok(Some(Err(refusal))) => return Received::Ended(End::Refused(refusal)),
            Err(error) => error,
        };
        assert_eq!(self.exchange.message(), &before, "an error moves an exchange on");
        match error {
            Error::Peer(PeerFault::Vault(fault)) => Received::Fault(fault),
            Error::Peer(
                fault @ (PeerFault::Mismatch(_) | PeerFault::DamagedSecret { .. } | PeerFault::DamagedWrap),
            ) => Received::Wrong(fault),
            Error::Peer(_) => Received::Nothing,
            Error::Caller(CallerFault::VaultClosed) => Received::Closed,
            error => panic!("a message is blamed on another: {error}"),
        }
    }
}
