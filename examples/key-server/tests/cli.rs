//! The built `keystow` against a key server over TLS: what a person does, and what can go wrong on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "cli/keys.rs"]
mod keys;
#[path = "support/mini_server.rs"]
mod mini_server;
#[path = "support/person.rs"]
mod person;
#[path = "cli/real.rs"]
mod real;
#[path = "support/server.rs"]
mod server;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mini_server::MiniServer;
use person::{Device, Killed, wait_for};

fn device(server: &MiniServer) -> Device {
    Device::new(server.address(), server.certificate(), "ada")
}

fn registered(server: &MiniServer) -> Device {
    let device = device(server);
    device.says(&["register"]);
    device
}

fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600
}

#[test]
fn an_account_is_made_once_and_logged_in_to() {
    let server = MiniServer::start();
    let device = device(&server);
    assert!(device.says(&["register"]).contains("Registered ada"));
    assert!(device.says(&["login"]).contains("goes on from this device's pin"));
    let status = device.json(&["status"]);
    assert_eq!((&status["account"], &status["pinned"]), (&"ada".into(), &true.into()));
    assert!(device.complains(6, &["register"]).contains("knows an account of this name"));
    let other = self::device(&server);
    assert!(other.complains(1, &["register"]).contains("This name is taken"));
}

#[test]
fn a_wrong_password_and_an_unknown_account_end_with_3() {
    let server = MiniServer::start();
    let mut ada = registered(&server);
    ada.password = "wrong".to_owned();
    assert!(ada.complains(3, &["login"]).contains("Name or password is wrong."));
    let bob = Device::new(server.address(), server.certificate(), "bob");
    bob.ends(3, &["list"]);
}

#[test]
fn too_many_attempts_are_refused_until_a_time_that_is_said() {
    let policy = keystow::ServerPolicy { attempt_limit: 1, ..keystow::ServerPolicy::default() };
    let server = MiniServer::with_policy(policy);
    let mut ada = registered(&server);
    ada.password = "wrong".to_owned();
    ada.ends(3, &["login"]);
    let said = ada.complains(1, &["login"]);
    assert!(said.contains("Too many attempts. Try again at 2"), "{said}");
}

#[test]
fn each_kind_is_made_listed_and_deleted() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let made = ada.json(&["generate", "bytes:64", "secp256k1", "ed25519"]);
    let made: Vec<_> = made["secrets"].as_array().unwrap().iter().map(|s| s["key_id"].as_str().unwrap()).collect();
    assert_eq!(made.len(), 3);
    let mut listed = ada.key_ids();
    assert_eq!(listed.len(), 3);
    assert!(made.iter().all(|key_id| listed.contains(&(*key_id).to_owned())));
    assert!(ada.says(&["list"]).contains("3 secrets, complete"));
    assert!(ada.complains(2, &["delete", made[0]]).contains("--yes"));
    ada.ends(0, &["delete", made[0], made[1], "--yes"]);
    listed.retain(|key_id| *key_id == made[2]);
    assert_eq!(ada.key_ids(), listed);
    assert!(ada.complains(1, &["delete", made[0], "--yes"]).contains("was deleted before"));
    ada.ends(1, &["export", made[0], "--format", "hex", "--yes"]);
    ada.ends(2, &["generate", "bytes:2000"]);
    ada.ends(2, &["export", "abc", "--format", "hex"]);
}

#[test]
fn a_new_password_ends_the_old_one() {
    let server = MiniServer::start();
    let mut ada = registered(&server);
    let (key_id, _) = ada.generate("bytes:16");
    let before = ada.says(&["export", &key_id, "--format", "hex", "--yes"]);
    let changed = ada.command(&["passwd"]).env("KEYSTOW_NEW_PASSWORD", "another one").status().unwrap();
    assert!(changed.success());
    ada.ends(3, &["login"]);
    ada.password = "another one".to_owned();
    assert_eq!(ada.says(&["export", &key_id, "--format", "hex", "--yes"]), before);
    ada.says_to(b"another one\na third one\n", &["--password-stdin", "passwd"]);
    ada.ends(3, &["login"]);
    ada.password = "a third one".to_owned();
    ada.ends(0, &["login"]);
}

#[test]
fn the_trail_tells_what_was_done() {
    let server = MiniServer::start();
    let mut ada = registered(&server);
    let (key_id, _) = ada.generate("bytes:16");
    ada.password = "wrong".to_owned();
    ada.ends(3, &["login"]);
    ada.password = person::PASSWORD.to_owned();
    let trail = ada.json(&["audit"]);
    let actions: Vec<_> = trail["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["register", "log in", "store", "log in"]);
    assert_eq!(trail["entries"][3]["failed_attempts"], 1);
    assert_eq!(trail["entries"][2]["key_ids"][0], *key_id);
    let secrets = ada.says(&["audit", "--about", "secrets"]);
    assert!(secrets.starts_with("TIME") && secrets.contains(&key_id) && !secrets.contains("log in"));
    assert!(ada.says(&["audit", "--about", "account"]).contains("log in after 1 failed"));
    assert_eq!(ada.says(&["audit", "--key", &"00".repeat(16)]).lines().count(), 1);
}

#[test]
fn two_devices_compare_what_they_see() {
    let server = MiniServer::start();
    let (phone, desk) = (registered(&server), device(&server));
    assert!(desk.complains(6, &["pin"]).contains("no pin"));
    assert!(desk.says(&["login"]).contains("is new to this device"));
    let (key_id, _) = phone.generate("secp256k1");
    let pin = phone.says(&["pin"]);
    assert!(pin.starts_with("kspin1"));
    assert_ne!(desk.says(&["pin"]), pin, "the desk has not seen the change");
    assert!(desk.says(&["compare", pin.trim()]).contains("the same history"));
    assert_eq!(desk.says(&["pin"]), pin);
    assert_eq!(desk.key_ids(), [key_id]);
    ends_with_a_typing_error(&desk, pin.trim());
}

fn ends_with_a_typing_error(device: &Device, pin: &str) {
    let last = if pin.ends_with('q') { "p" } else { "q" };
    device.ends(2, &["compare", &[&pin[..pin.len() - 1], last].concat()]);
}

#[test]
fn a_store_that_was_put_back_is_noticed_and_accepted_only_by_the_person() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let (kept, _) = ada.generate("bytes:16");
    let backup = server.server().store.clone();
    let (lost, _) = ada.generate("bytes:16");
    let newest = ada.says(&["pin"]);
    server.server().store = backup;
    for command in [&["login"][..], &["list"], &["generate"], &["status"]] {
        assert!(ada.complains(5, command).contains("an older state of your vault"));
    }
    assert_eq!(ada.says(&["pin"]), newest, "the pin is not given up");
    // What is left can be seen without giving it up.
    let listed = ada.json(&["list", "--salvage"]);
    assert_eq!((&listed["verified"], listed["secrets"].as_array().unwrap().len()), (&false.into(), 1));
    ada.ends(0, &["export", &kept, "--format", "hex", "--yes", "--salvage"]);
    assert_eq!(ada.says(&["pin"]), newest);
    ada.ends(0, &["login", "--accept-rollback"]);
    assert_ne!(ada.says(&["pin"]), newest);
    assert_eq!(ada.key_ids(), [kept]);
    ada.ends(1, &["export", &lost, "--format", "hex", "--yes"]);
}

#[test]
fn two_histories_are_noticed_and_never_accepted() {
    let server = MiniServer::start();
    let (phone, desk) = (registered(&server), device(&server));
    desk.ends(0, &["login"]);
    let before = server.server().store.clone();
    phone.generate("bytes:16");
    let pin = phone.says(&["pin"]);
    server.server().store = before;
    desk.generate("bytes:16"); // the desk can't know
    assert!(desk.complains(5, &["compare", pin.trim()]).contains("different histories"));
    assert!(phone.complains(5, &["login"]).contains("different histories"));
    phone.ends(5, &["login", "--accept-rollback"]);
    assert_eq!(phone.says(&["pin"]), pin);
}

#[test]
fn commands_of_one_device_wait_for_each_other() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let mut children: Vec<_> =
        (0..4).map(|_| Killed(ada.command(&["generate", "bytes:16"]).spawn().unwrap())).collect();
    for child in &mut children {
        assert!(child.0.wait().unwrap().success());
    }
    assert_eq!(ada.key_ids().len(), 4);
}

#[test]
fn secrets_that_a_killed_command_left_are_stored_at_the_next_login() {
    let server = MiniServer::start();
    let ada = registered(&server);
    // The login takes three messages, the making one; the storing is not answered.
    server.answer_only(4);
    let child = Killed(ada.command(&["generate", "bytes:16", "ed25519"]).spawn().unwrap());
    wait_for("the request to store", || server.unanswered() > 0);
    drop(child);
    server.answer_only(i64::MAX);
    let pending = ada.pending();
    assert_eq!(pending.len(), 1);
    assert!(is_private(&pending[0]));
    let first = pending[0].file_name().unwrap().to_str().unwrap().to_owned();
    let output = ada.ends(0, &["--json", "login"]);
    let login: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(login["pending_stored"][0], *first);
    assert!(String::from_utf8(output.stderr).unwrap().contains("stored what an earlier command had left"));
    assert!(ada.pending().is_empty());
    assert_eq!(ada.key_ids().len(), 2);
}

#[test]
fn secrets_whose_stored_answer_was_lost_are_stored_once() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let (_, before) = (ada.generate("bytes:16"), ada.files());
    server.lose_answers_after(4); // the storing is carried out, and its answer lost
    let mut child = Killed(ada.command(&["generate", "bytes:16"]).spawn().unwrap());
    wait_for("the request to store", || server.unanswered() > 0);
    server.answer_only(i64::MAX); // it is sent again soon, and answered
    assert!(child.0.wait().unwrap().success());
    assert_eq!(ada.files(), before);
    assert_eq!(ada.key_ids().len(), 2);
}

#[test]
fn pending_secrets_that_are_damaged_keep_nobody_out() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let lock = ada.files().into_iter().find(|path| path.ends_with("lock")).unwrap();
    let path = lock.with_file_name("pending").join("00".repeat(16));
    std::fs::write(&path, "damaged").unwrap();
    assert!(ada.complains(0, &["list"]).contains("can't be stored and stays there"));
    ada.ends(6, &["login"]);
    assert!(path.exists());
}

#[test]
fn what_a_device_keeps_is_private_and_goes_with_the_account() {
    let server = MiniServer::start();
    let ada = registered(&server);
    ada.generate("bytes:16");
    let names = |files: &[std::path::PathBuf]| -> Vec<String> {
        let mut names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    let files = ada.files();
    assert_eq!(names(&files), ["lock", "pin", "server-key", "user-id"]);
    assert!(files.iter().all(|file| is_private(file)));
    ada.ends(2, &["delete-account"]);
    ada.ends(0, &["delete-account", "--yes"]);
    assert_eq!(names(&ada.files()), ["lock"]);
    ada.ends(3, &["login"]);
    ada.ends(0, &["register"]); // the name is free
    assert!(ada.key_ids().is_empty());
}

#[test]
fn another_server_and_another_certificate_are_refused() {
    let (server, other) = (MiniServer::start(), MiniServer::start());
    let ada = registered(&server);
    let at_other = |certificate| {
        let mut command = ada.command(&["login", "--server", &other.address(), "--ca"]);
        command.arg(certificate).output().unwrap()
    };
    let output = at_other(server.certificate());
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not trusted"));
    // The same name and password at the other server: its key is not the known one.
    let elsewhere = Device::new(other.address(), other.certificate(), "ada");
    elsewhere.ends(0, &["register"]);
    assert_eq!(at_other(other.certificate()).status.code(), Some(5));
}

#[test]
fn nodes_are_tried_in_turn_and_no_server_ends_with_4() {
    let server = MiniServer::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = closed.local_addr().unwrap().to_string();
    drop(closed);
    let nodes = [nowhere.clone(), server.address()].join(",");
    let ada = Device::new(nodes, server.certificate(), "ada");
    ada.ends(0, &["register"]);
    ada.ends(0, &["list"]);
    let alone = Device::new(nowhere, server.certificate(), "ada");
    assert!(alone.complains(4, &["login", "--timeout", "1"]).contains("No answer from the server"));
}

#[test]
fn a_server_that_restarts_ends_sessions_and_keeps_accounts() {
    let server = MiniServer::start();
    let ada = registered(&server);
    server.answer_only(4);
    let mut child = Killed(ada.command(&["generate", "bytes:16"]).spawn().unwrap());
    wait_for("the request to store", || server.unanswered() > 0);
    server.server().crash();
    server.answer_only(i64::MAX);
    assert_eq!(child.0.wait().unwrap().code(), Some(1), "the session is over");
    assert_eq!(ada.pending().len(), 1);
    assert_eq!(ada.key_ids().len(), 1, "the next command has stored it");
}

#[test]
fn errors_are_json_too() {
    let server = MiniServer::start();
    let mut ada = registered(&server);
    ada.password = "wrong".to_owned();
    let error: serde_json::Value = serde_json::from_slice(&ada.ends(3, &["--json", "login"]).stdout).unwrap();
    assert_eq!(error["exit_code"], 3);
    assert_eq!(error["error"], "Name or password is wrong.");
}

#[test]
fn usage_errors_end_with_2() {
    let keystow = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_keystow")).args(arguments).env_clear().output().unwrap();
        output.status.code()
    };
    assert_eq!(keystow(&[]), Some(2));
    assert_eq!(keystow(&["frobnicate"]), Some(2));
    assert_eq!(keystow(&["list"]), Some(2));
    assert_eq!(keystow(&["list", "--account", "ada", "--server", "localhost:1"]), Some(2));
    assert_eq!(keystow(&["--help"]), Some(0));
}

#[test]
fn completions_are_written_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(env!("CARGO_BIN_EXE_keystow")).args(["completions", shell]).output().unwrap();
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("delete-account"), "{shell}");
    }
}
