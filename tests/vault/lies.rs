//! Every single mutation of a server's reply: something left out, doubled, exchanged, added, put out of order; an older
//! value, another user's, a refusal, another operation's reply.

use keystow::operation::*;
use keystow::*;

use super::Material;

type Lies = Vec<(String, Reply)>;

/// A list with one thing wrong. `strange` are items that don't belong there.
fn mutated<T: Clone + PartialEq>(list: &[T], strange: &[(&str, T)]) -> Vec<(String, Vec<T>)> {
    let mut lies = vec![("nothing".to_owned(), vec![])];
    for i in 0..list.len() {
        let (before, rest) = list.split_at(i);
        let (item, after) = rest.split_first().unwrap();
        lies.push((format!("without {i}"), [before, after].concat()));
        lies.push((format!("cut at {i}"), before.to_vec()));
        lies.push((format!("{i} twice"), [before, std::slice::from_ref(item), rest].concat()));
        for j in i + 1..list.len() {
            let mut swapped = list.to_vec();
            swapped.swap(i, j);
            lies.push((format!("{i} and {j} swapped"), swapped));
            let mut copied = list.to_vec();
            copied[i] = list[j].clone();
            lies.push((format!("{j} in place of {i}"), copied));
        }
        for (name, other) in strange {
            lies.push((format!("{name} in place of {i}"), [before, std::slice::from_ref(other), after].concat()));
        }
    }
    for i in 0..=list.len() {
        let (before, after) = list.split_at(i);
        for (name, other) in strange {
            lies.push((format!("{name} added at {i}"), [before, std::slice::from_ref(other), after].concat()));
        }
    }
    lies.retain(|(_, lie)| lie != list);
    lies
}

fn garbled(secret: &SealedSecret) -> SealedSecret {
    let mut secret = secret.clone();
    secret.ciphertext[0] ^= 1;
    secret
}

/// The same ciphertext under a header that says something else.
fn relabelled(secret: &SealedSecret) -> SealedSecret {
    let mut header = secret.header.to_bytes();
    *header.last_mut().unwrap() ^= 1;
    SealedSecret { header: Header::from_bytes(&header).unwrap(), ciphertext: secret.ciphertext.clone() }
}

fn secrets(list: &[SealedSecret], material: &Material) -> Vec<(String, Vec<SealedSecret>)> {
    let mut strange = vec![("a deleted one", material.deleted.clone()), ("another user's", material.foreign.clone())];
    strange.extend(material.own.iter().map(|own| ("another of the vault's", own.clone())));
    if let Some(first) = list.first() {
        strange.push(("a garbled one", garbled(first)));
        strange.push(("a relabelled one", relabelled(first)));
    }
    let mut lies = mutated(list, &strange);
    // All possible ways to sort a strange one in, where it would stand.
    for (name, other) in &strange {
        let mut sorted = [list, std::slice::from_ref(other)].concat();
        sorted.sort_by_key(|secret| secret.header.key_id());
        lies.push((format!("{name} sorted in"), sorted));
    }
    lies
}

fn key_ids(list: &[KeyId], material: &Material) -> Vec<(String, Vec<KeyId>)> {
    let id = |secret: &SealedSecret| secret.header.key_id();
    mutated(list, &[("a deleted one's", id(&material.deleted)), ("another user's", id(&material.foreign))])
}

fn heads(list: &[SealedHead], material: &Material) -> Vec<(String, Vec<SealedHead>)> {
    let mut strange = vec![("another user's head", material.foreign_head.clone())];
    strange.extend(material.heads.iter().map(|head| ("an older head", head.clone())));
    for at in [0, 7, 8, 20, 60, 139] {
        let mut bytes = *list.last().unwrap_or(&material.foreign_head).as_bytes();
        bytes[at] ^= 1;
        strange.push(("a garbled head", SealedHead::from_bytes(bytes)));
    }
    mutated(list, &strange)
}

/// Every wrong reply in the place of this one.
pub fn about(reply: &Reply, material: &Material) -> Lies {
    let mut lies: Lies = contents(reply, material);
    let key_id = material.deleted.header.key_id();
    let refusals = [
        Refusal::Denied,
        Refusal::NameTaken,
        Refusal::TryAgainAt(Timestamp::from_millis(1)),
        Refusal::SessionEnded,
        Refusal::KeyIdTaken(key_id),
        Refusal::NotFound,
        Refusal::TooLarge,
        Refusal::AlreadyDeleted(key_id),
        Refusal::LoginTooOld,
        Refusal::HeadMoved,
    ];
    lies.extend(refusals.map(|refusal| (format!("refusal: {refusal:?}"), Reply::Refused(refusal))));
    let others = [
        Reply::Status(status::Reply { lifetime: 1, idle: 1, recent: 1 }),
        Reply::Store(store::Reply { key_ids: vec![key_id], repeated: true }),
        Reply::Delete(delete::Reply { key_ids: vec![key_id] }),
        Reply::ChangePassword(change_password::Reply::Changed),
        Reply::DeleteAccount(delete_account::Reply { done: true }),
        Reply::LogOut(log_out::Reply {}),
    ];
    lies.extend(others.map(|other| ("another operation's reply".to_owned(), other)));
    lies.retain(|(_, lie)| lie != reply);
    lies
}

fn contents(reply: &Reply, material: &Material) -> Lies {
    match reply {
        Reply::List(page) => {
            let with = |(name, secrets)| (name, Reply::List(list::Reply { secrets, ..page.clone() }));
            let mut lies: Lies = secrets(&page.secrets, material).into_iter().map(with).collect();
            for epoch in (0..=page.epoch + 2).filter(|epoch| *epoch != page.epoch) {
                lies.push((format!("epoch {epoch}"), Reply::List(list::Reply { epoch, ..page.clone() })));
            }
            for next in page.secrets.iter().map(|secret| secret.header.key_id()) {
                let next = Some(next);
                lies.push(("goes on where it doesn't".to_owned(), Reply::List(list::Reply { next, ..page.clone() })));
            }
            lies
        }
        Reply::Heads(page) => {
            let mut lies = Lies::new();
            for (name, heads) in heads(&page.heads, material) {
                // As it is, and with the newest epoch that fits what is shown.
                let newest = heads.last().map_or(0, SealedHead::epoch);
                lies.push((name.clone(), Reply::Heads(heads::Reply { heads: heads.clone(), ..page.clone() })));
                lies.push((format!("{name}, said to be all"), Reply::Heads(heads::Reply { heads, newest })));
            }
            for newest in (0..=page.newest + 2).filter(|newest| *newest != page.newest) {
                lies.push((format!("newest {newest}"), Reply::Heads(heads::Reply { newest, ..page.clone() })));
            }
            lies
        }
        Reply::Retrieve(page) => {
            let with = |(name, secrets)| (name, Reply::Retrieve(retrieve::Reply { secrets }));
            secrets(&page.secrets, material).into_iter().map(with).collect()
        }
        Reply::Store(stored) => {
            let with = |(name, key_ids)| (name, Reply::Store(store::Reply { key_ids, ..stored.clone() }));
            let mut lies: Lies = key_ids(&stored.key_ids, material).into_iter().map(with).collect();
            let repeated = !stored.repeated;
            lies.push((format!("repeated: {repeated}"), Reply::Store(store::Reply { repeated, ..stored.clone() })));
            lies
        }
        Reply::Delete(deleted) => {
            let with = |(name, key_ids)| (name, Reply::Delete(delete::Reply { key_ids }));
            key_ids(&deleted.key_ids, material).into_iter().map(with).collect()
        }
        Reply::Welcome(welcome) => {
            let mut garbled = welcome.wrap;
            garbled[0] ^= 1;
            let wraps = [material.wraps.clone(), vec![garbled]].concat();
            let mut lies: Lies = wraps
                .into_iter()
                .map(|wrap| ("another wrap".to_owned(), Reply::Welcome(log_in::Welcome { wrap, ..welcome.clone() })))
                .collect();
            let user_id = material.other_user;
            lies.push(("another user".to_owned(), Reply::Welcome(log_in::Welcome { user_id, ..welcome.clone() })));
            let expires = Timestamp::from_millis(0);
            lies.push(("another end".to_owned(), Reply::Welcome(log_in::Welcome { expires, ..welcome.clone() })));
            lies
        }
        Reply::Generate(_) => {
            let random = |byte| Reply::Generate(generate::Reply { server_random: [byte; 32] });
            vec![("other random bytes".to_owned(), random(0)), ("other random bytes".to_owned(), random(0xff))]
        }
        Reply::DeleteAccount(deleted) => {
            let done = !deleted.done;
            vec![(format!("done: {done}"), Reply::DeleteAccount(delete_account::Reply { done }))]
        }
        Reply::ChangePassword(change_password::Reply::Evaluated { evaluated }) => {
            let mut lies = Lies::new();
            for at in [0, 32] {
                let mut bytes = *evaluated.as_bytes();
                bytes[at] ^= 2;
                let evaluated = Box::new(OpaqueMessage::from_bytes(bytes));
                let reply = change_password::Reply::Evaluated { evaluated };
                lies.push((format!("byte {at} garbled"), Reply::ChangePassword(reply)));
            }
            lies
        }
        _ => Lies::new(),
    }
}
