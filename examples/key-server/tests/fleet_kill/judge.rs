//! The judgement afterwards: what the devices kept, what the server lists, and what the database holds must agree.

use std::collections::BTreeSet;
use std::fmt::Write;

use getrandom::SysRng;
use key_server::client::Connection;
use keystow::client::Operation;
use keystow::storage::AccountQuery;
use keystow::{ClientSession, Exchange, KeyId, PendingSecrets, VaultPin};
use rand_core::UnwrapErr;

use crate::book::{Account, PASSWORD};
use crate::nodes::Fleet;

async fn run<O>(connection: &mut Connection, exchange: Exchange<O>) -> O::Output
where
    O: Operation + Send + 'static,
    O::Output: Send,
{
    connection.rotate();
    connection.run(exchange).await.unwrap()
}

async fn log_in(connection: &mut Connection, account: &Account, pin: Option<VaultPin>) -> ClientSession {
    let exchange = account.client.log_in(PASSWORD, pin, &mut UnwrapErr(SysRng)).unwrap();
    run(connection, exchange).await
}

async fn list(connection: &mut Connection, session: &mut ClientSession) -> BTreeSet<KeyId> {
    let exchange = session.list().unwrap();
    let listed = run(connection, exchange).await;
    let listed = session.settle(listed).unwrap();
    let ids: BTreeSet<_> = listed.iter().map(|secret| secret.key_id).collect();
    assert_eq!(ids.len(), listed.len(), "a secret is listed twice");
    ids
}

/// Stores a batch again; gives whether it had been stored before.
async fn store(connection: &mut Connection, session: &mut ClientSession, pending: &PendingSecrets) -> bool {
    let exchange = session.store(pending).unwrap();
    let stored = run(connection, exchange).await;
    let stored = session.settle(stored).unwrap();
    assert!(stored.iter().map(|secret| secret.key_id).eq(pending.key_ids()));
    stored[0].already_stored
}

/// Judges one account, with nobody else at work in it.
pub async fn judge(fleet: &Fleet, mut connection: Connection, account: &Account) {
    let connection = &mut connection;
    let (pins, pending, kept, deleted, doubtful) = {
        let book = account.book();
        let pending: Vec<_> = book.pending.values().cloned().collect();
        (book.pins.clone(), pending, book.kept.clone(), book.deleted.clone(), book.doubtful.clone())
    };

    // Every pin that a device has kept is a place in the one history: a login with it is granted.
    for pin in &pins {
        drop(log_in(connection, account, Some(VaultPin::from_bytes(pin))).await);
    }

    // A fresh session, without a pin, sees what was acknowledged, and of the rest each batch wholly or not at all.
    let mut session = log_in(connection, account, None).await;
    let listed = list(connection, &mut session).await;
    assert!(kept.is_subset(&listed), "an acknowledged secret is missing: {:?}", kept.difference(&listed));
    assert!(deleted.is_disjoint(&listed), "a deleted secret is back");
    let mut whole: BTreeSet<_> = kept.union(&doubtful).copied().collect();
    for batch in &pending {
        let there = batch.key_ids().filter(|id| listed.contains(id)).count();
        assert!(there == 0 || there == batch.key_ids().len(), "a batch is there in part");
        whole.extend(batch.key_ids());
    }
    assert!(listed.is_subset(&whole), "a secret is listed that nobody has stored");

    // What nobody was told of is stored again, and is there once; so it is when it is stored a third time.
    for batch in &pending {
        let was_there = batch.key_ids().all(|id| listed.contains(&id));
        assert_eq!(store(connection, &mut session, batch).await, was_there, "the client knows what had been stored");
    }
    let again = list(connection, &mut session).await;
    let expected: BTreeSet<_> =
        listed.iter().copied().chain(pending.iter().flat_map(PendingSecrets::key_ids)).collect();
    assert_eq!(again, expected);
    for batch in &pending {
        assert!(store(connection, &mut session, batch).await);
    }
    assert_eq!(list(connection, &mut session).await, expected);

    let found_there = pending.iter().filter(|batch| batch.key_ids().all(|id| listed.contains(&id))).count();
    let mut line = format!("{}: {} pins verified, {} acknowledged", account.name, pins.len(), kept.len());
    write!(line, ", {} deleted, {} in doubt, {} batches", deleted.len(), doubtful.len(), pending.len()).unwrap();
    write!(line, " unacknowledged ({found_there} were stored)").unwrap();
    println!("{line}; {}", attempts(fleet, account));

    rows(fleet, &session, expected.len(), deleted.len() + doubtful.difference(&expected).count());
}

/// **The bound**: after a granted login with no other under way, `count` is at most the number of logins whose end no client has
/// seen, each charged once at the most and maybe refunded, whichever nodes took its messages; without such logins it is 0.
/// `unseen` is 0 in any case: that login has reported all before it.
fn attempts(fleet: &Fleet, account: &Account) -> String {
    let counter = hex(AccountQuery::new(account.name.clone()).counter().as_bytes());
    let row = fleet.postgres.psql(&format!("SELECT count, unseen FROM attempts WHERE counter = '\\x{counter}'"));
    let (count, unseen) = row.split_once('|').expect("a counter");
    let cut_off = account.book().counts.logins_cut_off;
    assert!(count.parse::<u32>().unwrap() <= cut_off, "{count} attempts are charged, {cut_off} logins were cut off");
    assert_eq!(unseen, "0");
    format!("{count} attempts charged of {cut_off} cut off")
}

/// One row for each secret and each tombstone, one for each head from 0 to the session's.
fn rows(fleet: &Fleet, session: &ClientSession, secrets: usize, tombstones: usize) {
    let user = hex(session.user_id().as_bytes());
    let count = |table| fleet.postgres.psql(&format!("SELECT count(*) FROM {table} WHERE user_id = '\\x{user}'"));
    assert_eq!(count("secrets"), (secrets + tombstones).to_string());
    assert_eq!(count("heads"), (session.pin().epoch() + 1).to_string());
    let epoch = fleet.postgres.psql(&format!("SELECT epoch FROM accounts WHERE user_id = '\\x{user}'"));
    assert_eq!(epoch, session.pin().epoch().to_string());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
