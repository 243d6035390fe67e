//! Both sides of the run once more, from the protocol's page alone: the password, the seeds and what was asked for go in,
//! and every byte that crossed or was stored has to come out. Each computation goes into the book, which is
//! `schedule.json`.

use opaque_ke::{ClientLoginFinishParameters, CredentialResponse};
use serde_json::Value;

use super::file::{hex, unhex};
use super::page::{Book, Stretch, list, long, varint};
use super::replay::{Replay, Session, drawn};
use super::run::Vectors;
use super::vault::{Secret, Vault};

pub(crate) const ABOUT: &str = "Every computation behind run.json, in order: `does` names the function, `name` what it is \
    for, the rest what goes in and what it gives. SHA-256 with a label has it in front of its message; HKDF-Expand with a \
    label has it in its info.";

impl<'a> Replay<'a> {
    /// Section 11, to the vault of the new account.
    fn registration(&mut self, run: &Vectors) -> Vault {
        let person = self.person(&self.inputs.account, &self.inputs.password);
        let server_seed = drawn(&mut self.server);
        let (mut request, mut response, mut ids) = (Vec::new(), Vec::new(), ([0; 16], Vec::new(), [0; 32]));
        let (upload, export_key, mut draw) = self.register("register", &person, |replay, blinded| {
            request = replay.expect("registration request", &[&[1, 0], &long(person.account), blinded]);
            let session_id = replay.fingerprint("register: session ID", &request);
            let mut draw = replay.book.draw("register: user ID, credential identifier", &server_seed, &session_id);
            ids = (draw.bytes(), session_id, draw.bytes());
            replay.book.drawn(draw);
            let evaluated = replay.evaluate(blinded, &ids.2);
            response = replay.expect("registration response", &[&[1, 0], &ids.1, &ids.0, &evaluated]);
            evaluated
        });
        let (user_id, session_id, credential) = ids;
        let client_random: [u8; 32] = draw.bytes();
        self.book.drawn(draw);
        let hedge = self.book.key("vault hedge", &export_key, "vault hedge", &[]);
        let vault_key = self.book.extract("vault key", &hedge, &client_random);
        let mut vault = Vault::new(&mut self.book, user_id, vault_key);
        vault.wrap(&mut self.book, "register", &export_key);
        let head = vault.head(&mut self.book, &session_id, 1);
        let identity = self.book.hash("hash of the server identity", None, &[person.server]);
        let (request, response) = (
            self.book.hash("hash of the request", None, &[&request]),
            self.book.hash("hash of the response", None, &[&response]),
        );
        let saw: [&[u8]; 6] = [&identity, &request, &response, &upload, &vault.wrap, &head];
        let transcript = self.book.hash("registration transcript", Some("registration transcript"), &saw);
        let upload_parts: [&[u8]; 6] = [&[1, 1], &session_id, &upload, &vault.wrap, &head, &transcript];
        self.expect("registration upload", &upload_parts);
        self.expect("registered", &[&[1, 1], &session_id]);
        let record = [&[1], &long(person.account)[..], &user_id, &credential, &upload, &vault.wrap].concat();
        assert_eq!(hex(&record), run.account_record, "account record");
        vault
    }

    /// Section 12, to the open session.
    fn log_in(&mut self, name: &str, password: &str, record: &[u8]) -> Session {
        let person = self.person(&self.inputs.account, password);
        // Section 25: version ‖ name ‖ user ID[16] ‖ credential identifier[32] ‖ upload[192] ‖ wrap[48].
        let (credential, upload) = record[record.len() - 272..record.len() - 48].split_at(32);
        let (state, ke2, seed, id) = self.start_login(name, &person, upload, credential);
        let (stretch, context) = (Stretch::default(), self.context());
        let parameters = ClientLoginFinishParameters::new(Some(&context), person.identifiers(), Some(&stretch));
        let response = CredentialResponse::deserialize(&ke2).unwrap();
        let mut draw = self.book.draw(&format!("{name}: KE3, which draws nothing"), &seed, b"KE3\0");
        let result = state.finish(&mut draw, &person.input, response, parameters).unwrap();
        let (ke3, export_key) = (result.message.serialize(), result.export_key.to_vec());
        let values: [(&str, &[u8]); 3] =
            [("KE3", &ke3), ("export_key", &export_key), ("session_key", &result.session_key)];
        self.book.note("OPAQUE login, to its end", name, None, &values);
        self.expect("login finish", &[&[1, 3], &id, &ke3]);
        let mut key = |label| self.book.key(&format!("{name}: {label}"), &result.session_key, label, &[]);
        let (client_to_server, server_to_client) = (key("client to server"), key("server to client"));
        let mut session =
            Session { name: name.into(), id, sequence: 1, client_to_server, server_to_client, seed, export_key };
        let welcome = self.frame(&session, 1);
        let expires = varint(self.inputs.now_millis + 3_600_000);
        let wrap = &record[record.len() - 48..];
        let user_id = &record[record.len() - 288..record.len() - 272];
        assert_eq!(welcome.1, [&[1], user_id, wrap, &expires].concat(), "Welcome");
        session.sequence = 2;
        session
    }

    /// Sections 13 and 14: secrets, made or brought along, and stored. Gives the batch's record (section 25).
    fn store(&mut self, session: &mut Session, vault: &mut Vault, wanted: &[Secret]) -> Vec<u8> {
        let imported = wanted.iter().all(|secret| secret.imported.is_some());
        let client_random = if imported { None } else { Some(drawn(&mut self.client)) };
        let nonces: Vec<_> = wanted.iter().map(|_| drawn(&mut self.client)).collect();
        let generate = self.exchange(session);
        let kinds: Vec<_> = wanted.iter().map(Secret::kind).collect();
        assert_eq!(generate.request, [vec![0], list(&kinds)].concat());
        let name = if imported { "import" } else { "generate" };
        let server_random = self.server_drew(&format!("{name}: server random"), session, &generate);
        assert_eq!(generate.reply, [&[2], &server_random[..]].concat());
        let since = vault.pin().to_vec();
        let made = vault.make(&mut self.book, wanted, client_random, server_random, &nonces);
        let (secrets, key_ids): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        vault.live.extend(&key_ids);
        let head = vault.head(&mut self.book, &session.id, session.sequence);
        let store = self.exchange(session);
        assert_eq!(store.request, [&[1], &list(&secrets)[..], &head].concat(), "Store");
        let ids = list(&key_ids.iter().map(|id| id.to_vec()).collect::<Vec<_>>());
        assert_eq!(store.reply, [&[3], &ids[..], &[0]].concat());
        let tag = vault.pending_tag(&mut self.book, name, &since, &key_ids);
        let (epoch, hash) = since.split_at(8);
        let epoch = varint(u64::from_be_bytes(epoch.try_into().unwrap()));
        [&[1], &list(&secrets)[..], &[1], &epoch, hash, &tag].concat()
    }

    /// Section 19.
    fn change_password(&mut self, session: &mut Session, vault: &mut Vault, password: &str) -> Vec<u8> {
        let person = self.person(&self.inputs.account, password);
        let (mut credential, at) = ([0; 32], &mut *session);
        let (upload, export_key, draw) = self.register("change password", &person, |replay, blinded| {
            let start = replay.exchange(at);
            assert_eq!(start.request, [&[5, 0], blinded].concat());
            credential = replay.server_drew("change password: credential identifier", at, &start);
            let evaluated = replay.evaluate(blinded, &credential);
            assert_eq!(start.reply, [&[7, 0], &evaluated[..]].concat());
            evaluated
        });
        self.book.drawn(draw);
        vault.wrap(&mut self.book, "change password", &export_key);
        let head = vault.head(&mut self.book, &session.id, session.sequence);
        let finish = self.exchange(session);
        assert_eq!(finish.request, [&[5, 1], &upload[..], &vault.wrap, &head].concat());
        assert_eq!(finish.reply, [7, 1]);
        [&[1], &long(person.account)[..], &vault.user_id, &credential, &upload, &vault.wrap].concat()
    }

    /// Section 12: a name without an account.
    fn unknown(&mut self, account: &'a str) {
        let person = self.person(account, &self.inputs.password);
        let setup = self.setup.serialize();
        let (from, nobody) = setup.split_at(96);
        let rest = self.book.expand("dummy record", from, "dummy record", &[], 160);
        let credential = self.book.hash("unknown account", Some("unknown account"), &[person.account]);
        self.start_login("log in as nobody", &person, &[nobody, &rest].concat(), &credential);
    }
}

/// The whole run: the book, and the heads.
pub(crate) fn compute(run: &Vectors) -> (Book, Vec<Value>) {
    let (replay, record) = (&mut Replay::new(run), unhex(&run.account_record));
    let mut vault = replay.registration(run);
    for account in [&run.inputs.account, &run.inputs.unknown_account] {
        let name = format!("attempts of {account}");
        let counter = replay.book.hash(&name, Some("attempts"), &[account.as_bytes()]);
        let (now, window, (first, _)) = (u128::from(run.inputs.now_millis), 900_000, counter.split_at(8));
        let shift = u128::from(u64::from_be_bytes(first.try_into().unwrap()).rem_euclid(900_000));
        let ends = u64::try_from(now + window - (now + shift).rem_euclid(window)).unwrap();
        assert!(run.attempts.contains(&(hex(&counter), ends)), "{name}");
    }
    let mut session = replay.log_in("log in", &run.inputs.password, &record);
    vault.unwrap(&mut replay.book, "log in", &session.export_key);
    replay.exchange(&mut session);
    let kinds = [(0, 32), (1, 32), (2, 32)].map(|(tag, len)| Secret { tag, len, imported: None });
    assert_eq!(hex(&replay.store(&mut session, &mut vault, &kinds)), run.pending);
    replay.exchange(&mut session);
    replay.exchange(&mut session);
    let imported = [Secret { tag: 2, len: 32, imported: Some([0x42; 32]) }];
    assert_eq!(hex(&replay.store(&mut session, &mut vault, &imported)), run.custody.pending_import);
    let deleted = vault.live.remove(0);
    let head = vault.head(&mut replay.book, &session.id, session.sequence);
    let tombstone = [&[1, 1], &session.id[..], &varint(session.sequence)].concat();
    assert_eq!(hex(&tombstone), run.custody.tombstone);
    assert_eq!(replay.exchange(&mut session).request, [&[4, 1], &deleted[..], &head].concat());
    let record = replay.change_password(&mut session, &mut vault, &run.custody.new_password);
    assert_eq!(hex(&record), run.custody.account_record);
    (0..3).for_each(|_| drop(replay.exchange(&mut session)));
    let mut session = replay.log_in("log in again", &run.custody.new_password, &record);
    vault.unwrap(&mut replay.book, "log in again", &session.export_key);
    replay.exchange(&mut session);
    vault.close();
    let head = vault.head(&mut replay.book, &session.id, session.sequence);
    assert_eq!(replay.exchange(&mut session).request, [&[9, 1], &head[..]].concat());
    replay.exchange(&mut session);
    replay.unknown(&run.inputs.unknown_account);
    assert_eq!(replay.messages.len(), 0, "every message has been computed");
    let stored = run.heads.iter().map(|record| unhex(record)).collect::<Vec<_>>();
    let heads: Vec<_> = vault.heads.iter().map(|head| [&[1], &head[..]].concat()).collect();
    assert_eq!(stored, heads, "vault heads");
    (std::mem::take(&mut replay.book), vault.said)
}
