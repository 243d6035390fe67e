//! Records, headers, key IDs and pins: what the crate writes, beside the layout of the protocol's page, put together by hand.

use keystow::*;
use serde_json::{Value, json};

use super::file::{hex, json as plain, unhex};
use super::messages::count;
use super::page::{list, long, varint};
use super::run::Vectors;
use super::variants::assert_complete;

const ABOUT: &str = "What is stored, by a server or on a device. The account, secrets, tombstone, pending secrets and setup are \
    run.json's, taken apart; the rest are values made up for the purpose.";

/// Section 9: a header by its layout, and what the crate reads of it.
pub(crate) fn header(kind: Kind, origin: Origin) -> Header {
    Header::from_bytes(&header_parts(kind, origin).concat()).unwrap()
}

const HEADER: [&str; 9] =
    ["version", "user_id", "kind", "length", "origin", "server_random", "index", "public", "binder"];

fn header_parts(kind: Kind, origin: Origin) -> [Vec<u8>; 9] {
    let (tag, public) = match kind {
        Kind::Bytes(_) => (0, Vec::new()),
        // The group's generators.
        Kind::Secp256k1 => (1, unhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")),
        Kind::Ed25519 => (2, unhex("5866666666666666666666666666666666666666666666666666666666666666")),
    };
    let origin = match origin {
        Origin::Generated => 0,
        Origin::Imported => 1,
    };
    let length = kind.secret_len().to_be_bytes().to_vec();
    let (user_id, random, binder) = (count::<16>(0xa2), count::<32>(0xb1), count::<32>(0xc0));
    let index = 258u16.to_be_bytes().to_vec();
    [vec![1], user_id.to_vec(), vec![tag], length, vec![origin], random.to_vec(), index, public, binder.to_vec()]
}

fn headers() -> Value {
    let kinds = [Kind::Bytes(1), Kind::Bytes(65_536), Kind::Secp256k1, Kind::Ed25519];
    let all = kinds.into_iter().flat_map(|kind| [Origin::Generated, Origin::Imported].map(|origin| (kind, origin)));
    let one = |(kind, origin): (Kind, Origin)| {
        let (parts, header) = (header_parts(kind, origin), header(kind, origin));
        assert_eq!(header.to_bytes(), parts.concat());
        assert_eq!((header.kind(), header.origin(), hex(header.user_id().as_bytes())), (kind, origin, hex(&parts[1])));
        assert_eq!(header.public().map_or(&[][..], PublicComponent::as_bytes), parts[7]);
        let mut fields: Value =
            HEADER.iter().zip(&parts).map(|(name, part)| (name.to_string(), Value::from(hex(part)))).collect();
        fields["name"] = format!("{kind}, {origin:?}").into();
        fields["bytes"] = hex(&header.to_bytes()).into();
        fields["key_id"] = header.key_id().to_string().into();
        fields
    };
    all.map(one).collect()
}

/// An audit entry. Its fields aren't open: it is read from JSON.
pub(crate) fn entry(action: Action, granted: bool, key_ids: Vec<KeyId>) -> AuditEntry {
    let entry = json!({
        "user_id": count::<16>(0xa3),
        "session_id": count::<16>(0x11),
        "sequence": 300,
        "request": count::<16>(0xd0),
        "at": 1_800_000_000_000u64,
        "action": action,
        "granted": granted,
        "key_ids": key_ids,
    });
    serde_json::from_value(entry).unwrap()
}

fn audit_entries() -> Value {
    use Action::*;
    let one = || vec![KeyId::from_bytes(count(0x29))];
    let entries = [
        (Register, true, Vec::new()),
        (LogIn { attempts_spent: 0 }, true, Vec::new()),
        (LogIn { attempts_spent: u32::MAX }, true, Vec::new()),
        (Store, true, one()),
        (Store, false, one()),
        (Retrieve, true, vec![KeyId::from_bytes(count(0x2a)), KeyId::from_bytes(count(0x2b))]),
        (Retrieve, false, one()),
        (List, true, Vec::new()),
        (Delete, true, one()),
        (Delete, false, one()),
        (ChangePassword, true, Vec::new()),
        (DeleteAccount, true, Vec::new()),
    ];
    // version ‖ user ID ‖ session ID ‖ sequence (2 bytes) ‖ request ‖ time (6 bytes), and then the action.
    const AT: usize = 1 + 16 + 16 + 2 + 16 + 6;
    let entries = entries.map(|(action, granted, key_ids)| (action, entry(action, granted, key_ids)));
    let record = |entry: &AuditEntry| entry.to_record().unwrap().as_bytes().to_vec();
    assert_complete(&entries.iter().map(|(action, entry)| (action, record(entry)[AT])).collect::<Vec<_>>());
    let one = |(action, entry): &(Action, AuditEntry)| {
        let action = match action {
            Register => vec![0],
            LogIn { attempts_spent } => [vec![1], varint((*attempts_spent).into())].concat(),
            Store => vec![2],
            Retrieve => vec![3],
            List => vec![4],
            Delete => vec![5],
            ChangePassword => vec![6],
            DeleteAccount => vec![7],
        };
        let (sequence, request) = (varint(300), count::<16>(0xd0));
        let key_ids: Vec<_> = entry.key_ids().iter().map(|id| id.as_bytes().to_vec()).collect();
        let (user_id, session_id, granted) = (count::<16>(0xa3), count::<16>(0x11), [u8::from(entry.granted())]);
        let at = varint(1_800_000_000_000);
        let laid_out: [&[u8]; 9] =
            [&[1], &user_id, &session_id, &sequence, &request, &at, &action, &granted, &list(&key_ids)];
        assert_eq!(record(entry), laid_out.concat());
        let key = [&user_id[..], &session_id, &300u64.to_be_bytes(), &request, &granted].concat();
        assert_eq!(entry.key().as_slice(), key);
        let place = postcard::to_allocvec(&entry.place()).unwrap();
        assert_eq!(place, [&at[..], &session_id, &sequence, &request, &granted].concat());
        json!({
            "name": format!("{:?}, granted: {}", entry.action(), entry.granted()),
            "value": plain(entry),
            "bytes": hex(&record(entry)),
            "key": hex(&entry.key()),
            "place": hex(&place),
        })
    };
    entries.iter().map(one).collect()
}

/// Section 28.
fn pins() -> Value {
    let one = |epoch: u64| {
        let bytes = [&epoch.to_be_bytes()[..], &count::<32>(0xe0)].concat();
        let pin = VaultPin::from_bytes(bytes.as_slice().try_into().unwrap());
        assert_eq!((pin.epoch(), pin.to_bytes().as_slice()), (epoch, &bytes[..]));
        assert_eq!(pin.to_string(), super::page::pin_text(epoch, &count(0xe0)));
        json!({ "name": format!("epoch {epoch}"), "epoch": epoch, "bytes": hex(&bytes), "text": pin.to_string() })
    };
    [0, 1, 127, 128, 255, 256, 65_535, 65_536, u64::MAX].into_iter().map(one).collect()
}

/// Pending secrets. Gives header and ciphertext of each.
fn pending(name: &str, record: &str, records: &mut Vec<Value>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let value = plain(&PendingSecrets::decode(&unhex(record)).unwrap());
    let bytes = |value: &Value| unhex(value.as_str().unwrap());
    let parts = |secret: &Value| (bytes(&secret["header"]), bytes(&secret["ciphertext"]));
    let secrets: Vec<_> = value["secrets"].as_array().unwrap().iter().map(parts).collect();
    let items: Vec<_> = secrets.iter().map(|(header, sealed)| [long(header), long(sealed)].concat()).collect();
    let since = match &value["since"] {
        Value::Null => vec![0],
        pin => [&[1], &varint(pin["epoch"].as_u64().unwrap())[..], &bytes(&pin["hash"])].concat(),
    };
    assert_eq!(*record, hex(&[&[1], &list(&items)[..], &since, &bytes(&value["tag"])].concat()), "{name}");
    records.push(json!({ "name": name, "value": value, "bytes": record }));
    secrets
}

/// The records of the run, taken apart as section 25 says.
fn records(run: &Vectors) -> Value {
    let mut records = Vec::new();
    let mut secrets = pending("pending secrets", &run.pending, &mut records);
    secrets.extend(pending("pending import", &run.custody.pending_import, &mut records));
    pending("pending secrets without a pin", &run.custody.pending_without_pin, &mut records);
    let stored = run.secrets.iter().map(|secret| &secret.record).chain([&run.custody.imported_record]);
    for ((header, ciphertext), record) in secrets.iter().zip(stored) {
        let (kind, origin) = Header::from_bytes(header).map(|header| (header.kind(), header.origin())).unwrap();
        assert_eq!(*record, hex(&[&[1, 0], &long(header)[..], &long(ciphertext)].concat()), "{kind}, {origin:?}");
        let (name, header, ciphertext) = (format!("secret, {kind}, {origin:?}"), hex(header), hex(ciphertext));
        records.push(json!({ "name": name, "header": header, "ciphertext": ciphertext, "bytes": record }));
    }
    let mut take_apart = |name: &str, record: &str, fields: &[(&str, usize)]| {
        let (bytes, mut at) = (unhex(record), 0);
        let mut parts = json!({ "name": name, "bytes": record });
        for (field, len) in fields {
            parts[*field] = hex(&bytes[at..at + len]).into();
            at += len;
        }
        assert_eq!(at, bytes.len(), "{name}");
        records.push(parts);
    };
    let account = [
        ("version", 1),
        ("length of the name", 1),
        ("account name", run.inputs.account.len()),
        ("user ID", 16),
        ("credential identifier", 32),
        ("upload", 192),
        ("wrap", 48),
    ];
    take_apart("account", &run.account_record, &account);
    take_apart("account, after the change of password", &run.custody.account_record, &account);
    let tombstone = [("version", 1), ("variant", 1), ("session ID", 16), ("sequence", 1)];
    take_apart("tombstone", &run.custody.tombstone, &tombstone);
    for (epoch, head) in run.heads.iter().enumerate() {
        take_apart(
            &format!("vault head {epoch}"),
            head,
            &[("version", 1), ("epoch", 8), ("nonce", 12), ("sealed", 120)],
        );
    }
    let setup = [("version", 1), ("OPRF seed", 64), ("private key", 32), ("public key of nobody", 32)];
    take_apart("server setup", &run.server_setup, &setup);
    records.into()
}

pub(crate) fn compute(run: &Vectors) -> Value {
    json!({
        "about": ABOUT,
        "version": 1,
        "records": records(run),
        "audit_entries": audit_entries(),
        "headers": headers(),
        "pins": pins(),
    })
}
