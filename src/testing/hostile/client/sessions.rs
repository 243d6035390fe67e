//! Sessions that outlive their password, their time or their right: rule 15.

use super::{Bench, PASSWORD, Person, Row};
use crate::client::ClientSession;
use crate::error::Refusal;
use crate::id::KeyId;
use crate::kind::Kind;
use crate::operation::{Reply, Request, audit, delete, delete_account, list, retrieve, status, store};
use crate::testing::hostile::forge::{blank_head, sent};
use crate::testing::hostile::{Verdict, ensure, fail};
use crate::trail::AuditFilter;

pub(super) const ATTACKS: &[Row] = &[
    (15, "an old session after a change of password elsewhere", after_change),
    (15, "a login half done with the old password", half_done),
    (15, "the old password after a change", old_password),
    (21, "two changes of password side by side", two_changes),
    (15, "a change of password, or a deletion of the account, without a recent login", not_recent),
    (15, "a session after its idle time", idle),
    (15, "a session after its lifetime, kept awake", lifetime),
];

const NEW_PASSWORD: &str = "a newer one";

impl Bench<'_> {
    fn change_password(&mut self, session: &mut ClientSession, password: &str) -> Verdict<Result<(), Refusal>> {
        let exchange = session.change_password(password, &mut self.rng)?;
        self.settled(session, exchange)
    }

    /// Requests, each in a session of its own, that must be told that the session is over.
    fn expect_over(&mut self, what: &str, sessions: &mut [ClientSession], requests: &[Request]) -> Verdict {
        sessions
            .iter_mut()
            .zip(requests)
            .try_for_each(|(session, request)| self.expect_refusal(what, session, request, Refusal::SessionEnded))
    }
}

/// One request of each kind that touches the store.
fn touching(key_id: KeyId, secrets: alloc::vec::Vec<crate::SealedSecret>, epoch: u64) -> [Request; 5] {
    let head = blank_head(epoch.saturating_add(1));
    [
        Request::Retrieve(retrieve::Request { key_ids: alloc::vec![key_id] }),
        Request::List(list::Request { after: None, limit: 256 }),
        Request::Delete(delete::Request { key_ids: alloc::vec![key_id], head: head.clone() }),
        Request::Audit(audit::Request { filter: AuditFilter::default(), after: None, limit: 256 }),
        Request::Store(store::Request { secrets: alloc::sync::Arc::new(secrets), head }),
    ]
}

fn after_change(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    let (key_id, _) = bench.secret(&mut session, Kind::Bytes(32))?;
    let pending = bench.generate(&mut session, Kind::Bytes(32))?;
    let mut old = alloc::vec::Vec::new();
    for _ in 0..5 {
        old.push(bench.log_in(&client, PASSWORD)??);
    }
    bench.change_password(&mut session, NEW_PASSWORD)??;
    let requests = touching(key_id, sent(&pending)?, session.pin().epoch());
    bench.expect_over("in an old session", &mut old, &requests)?;
    bench.expect_list(&mut session, &[key_id])
}

fn half_done(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    let mut login = client.log_in(PASSWORD, None, &mut bench.rng)?;
    let response = bench.answer(login.message())?;
    login.receive(response)?;
    bench.change_password(&mut session, NEW_PASSWORD)??;
    match bench.run(login)? {
        Err(_) => Ok(()),
        Ok(_) => fail("the old password still opened a session"),
    }
}

fn old_password(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    bench.change_password(&mut session, NEW_PASSWORD)??;
    if bench.log_in(&client, PASSWORD).is_ok_and(|outcome| outcome.is_ok()) {
        return fail("the old password still logs in");
    }
    bench.log_in(&client, NEW_PASSWORD)??;
    Ok(())
}

fn two_changes(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    let mut other = bench.log_in(&client, PASSWORD)??;
    let mut one = session.change_password("the first", &mut bench.rng)?;
    let mut two = other.change_password("the second", &mut bench.rng)?;
    for exchange in [&mut one, &mut two] {
        let evaluated = bench.answer(exchange.message())?;
        exchange.receive(evaluated)?;
    }
    bench.settled(&mut session, one)??;
    let lost = bench.settled(&mut other, two)?;
    ensure(lost == Err(Refusal::SessionEnded), "the change that came second wasn't told that its session is over")?;
    bench.log_in(&client, "the first")??;
    Ok(())
}

/// Keeps a session awake for a while.
fn stay_awake(bench: &mut Bench<'_>, session: &mut ClientSession, until: core::time::Duration) -> Verdict {
    let step = bench.deployment.policy.idle_timeout.div_f32(2.0);
    let end = bench.now.after(until);
    while bench.now <= end {
        bench.pass(step)?;
        match bench.ask(session, &Request::Status(status::Request {}))? {
            Reply::Status(_) => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn not_recent(bench: &mut Bench<'_>) -> Verdict {
    let Person { client, mut session } = bench.person("ada")?;
    let policy = bench.deployment.policy;
    if policy.recent_login >= policy.session_lifetime {
        return Err(crate::testing::hostile::Stop::NotPlayed);
    }
    stay_awake(bench, &mut session, policy.recent_login)?;
    let outcome = bench.change_password(&mut session, NEW_PASSWORD)?;
    ensure(outcome.is_err(), "the password was changed without a recent login")?;
    let head = Some(blank_head(session.pin().epoch().saturating_add(1)));
    bench.expect_refused(
        "the deletion of the account",
        &mut session,
        &Request::DeleteAccount(delete_account::Request { head }),
    )?;
    bench.log_in(&client, PASSWORD)??;
    Ok(())
}

fn idle(bench: &mut Bench<'_>) -> Verdict {
    let Person { mut session, .. } = bench.person("ada")?;
    let (key_id, pending) = bench.secret(&mut session, Kind::Bytes(32))?;
    bench.pass(bench.deployment.policy.idle_timeout)?;
    let [retrieve, ..] = touching(key_id, sent(&pending)?, session.pin().epoch());
    let exchange = crate::testing::hostile::forge::request(&mut session, &retrieve)?;
    expect_end(bench, &exchange)
}

/// The request gets no answer, a hint, or the sealed refusal that the session is over: nothing else.
fn expect_end<C: crate::client::Call<Output = Reply>>(
    bench: &mut Bench<'_>,
    exchange: &crate::client::Exchange<crate::client::Framed<C>>,
) -> Verdict {
    use crate::message::ServerMessage;
    match bench.send(exchange.message())? {
        None | Some(ServerMessage::Refused { .. }) => Ok(()),
        // A sealed refusal is as long as this; no answer to a retrieval is.
        Some(ServerMessage::Frame(frame)) if frame.sealed.len() <= 18 => Ok(()),
        Some(_) => fail("the session still answers"),
    }
}

fn lifetime(bench: &mut Bench<'_>) -> Verdict {
    let Person { mut session, .. } = bench.person("ada")?;
    let (key_id, pending) = bench.secret(&mut session, Kind::Bytes(32))?;
    stay_awake(bench, &mut session, bench.deployment.policy.session_lifetime)?;
    let [retrieve, ..] = touching(key_id, sent(&pending)?, session.pin().epoch());
    let exchange = crate::testing::hostile::forge::request(&mut session, &retrieve)?;
    expect_end(bench, &exchange)
}
