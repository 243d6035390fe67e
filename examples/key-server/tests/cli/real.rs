//! The built client and the built server together, with a store on the disk.

use std::path::Path;

use crate::person::Device;
use crate::server::TestServer;

fn start(folder: &Path) -> TestServer {
    TestServer::start(folder, &[], &[])
}

fn device(server: &TestServer, account: &str) -> Device {
    Device::new(server.address.to_string(), server.certificate(), account)
}

#[test]
fn an_account_lives_through_a_crash_of_the_server_and_goes_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let mut ada = device(&server, "ada");
    ada.ends(0, &["register"]);
    let (key_id, public) = ada.generate("secp256k1");
    let (other, _) = ada.generate("bytes:32");
    server.kill();
    let server = start(folder.path());
    ada.server = server.address.to_string();
    assert_eq!(ada.key_ids().len(), 2);
    let signed = ada.json(&["sign", &key_id, "/dev/null"]);
    assert_eq!(signed["public"].as_str().map(str::to_owned), public);
    ada.ends(0, &["delete", &other, "--yes"]);
    let changed = ada.command(&["passwd"]).env("KEYSTOW_NEW_PASSWORD", "another one").status().unwrap();
    assert!(changed.success());
    ada.ends(3, &["login"]);
    ada.password = "another one".to_owned();
    assert_eq!(ada.key_ids(), [key_id]);
    let mut desk = device(&server, "ada");
    desk.password.clone_from(&ada.password);
    desk.ends(0, &["compare", ada.says(&["pin"]).trim()]);
    assert!(desk.says(&["audit"]).contains("change password"));
    desk.ends(0, &["delete-account", "--yes"]);
    ada.ends(3, &["login"]);
}

#[test]
fn a_backup_that_is_restored_is_noticed() {
    let (folder, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, copy) = (folder.path().join("data/store.redb"), backup.path().join("store.redb"));
    let server = start(folder.path());
    let mut ada = device(&server, "ada");
    ada.ends(0, &["register"]);
    server.kill();
    std::fs::copy(&store, &copy).unwrap();
    let server = start(folder.path());
    ada.server = server.address.to_string();
    ada.generate("ed25519");
    server.kill();
    std::fs::copy(&copy, &store).unwrap();
    let server = start(folder.path());
    ada.server = server.address.to_string();
    assert!(ada.complains(5, &["list"]).contains("an older state of your vault"));
    ada.ends(0, &["login", "--accept-rollback"]);
    assert!(ada.key_ids().is_empty());
}
