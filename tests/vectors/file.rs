//! The committed files: read, written if the environment says so, compared value by value.

use std::fs;

use serde::Serialize;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v1/");

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { panic!("{text}: half a byte") };
    pairs.iter().map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A value as JSON, each run of bytes in hexadecimal.
pub(crate) fn json(value: &impl Serialize) -> Value {
    let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
    match serde_json::to_value(value).unwrap() {
        Value::Array(items) => match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) if !bytes.is_empty() => Value::from(hex(&bytes)),
            _ => items.iter().map(json).collect(),
        },
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        other => other,
    }
}

/// Writes a file of `tests/vectors/v1/`, if the environment says so, and reads it.
pub(crate) fn read(name: &str, compute: fn() -> Value) -> Value {
    let path = format!("{FOLDER}{name}");
    if std::env::var_os("KEYSTOW_WRITE_VECTORS").is_some_and(|value| value == "1") {
        fs::write(&path, serde_json::to_string_pretty(&compute()).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Where two values differ: the path to each value, with its number and its name.
fn differences(path: &str, computed: &Value, committed: &Value, found: &mut Vec<String>) {
    match (computed, committed) {
        (Value::Array(computed), Value::Array(committed)) if computed.len() == committed.len() => {
            for (number, (computed, committed)) in computed.iter().zip(committed).enumerate() {
                let name = committed["name"].as_str().unwrap_or_default();
                differences(&format!("{path} / {number} {name}"), computed, committed, found);
            }
        }
        (Value::Object(computed), Value::Object(committed)) if computed.keys().eq(committed.keys()) => {
            for (name, computed) in computed {
                differences(&format!("{path} / {name}"), computed, &committed[name], found);
            }
        }
        (computed, committed) if computed != committed => {
            found.push(format!("{path}\n    committed {committed:.200}\n    now       {computed:.200}"));
        }
        _ => {}
    }
}

/// The snapshot of the wire. `what` is what stands still, `instead` what a change of it takes.
pub(crate) fn assert_unchanged(name: &str, computed: &Value, committed: &Value, instead: &str) {
    let mut found = Vec::new();
    differences(name, computed, committed, &mut found);
    let (count, first) = (found.len(), found.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n  "));
    assert!(found.is_empty(), "{count} values of version 1 have changed, the first:\n  {first}\n{instead}");
}
