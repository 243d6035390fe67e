//! Keys and signatures, in and out, checked with openssl where it is installed.

use crate::mini_server::MiniServer;
use crate::person::openssl;
use crate::{is_private, registered};

#[test]
fn keys_go_through_openssl_and_back() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let folder = server.folder();
    for (kind, format) in [("secp256k1", "pkcs8"), ("secp256k1", "sec1"), ("ed25519", "pkcs8")] {
        let (key_id, public) = ada.generate(kind);
        let name = format!("{kind}.{format}.pem");
        let path = folder.join(&name);
        let output = path.to_str().unwrap();
        let export = ["export", &key_id, "--format", format, "--output", output];
        assert!(ada.complains(2, &export).contains("--yes"), "not without being asked for");
        assert!(!path.exists());
        ada.ends(0, &[&export[..], &["--yes"]].concat());
        assert!(is_private(&path));
        ada.ends(6, &[&export[..], &["--yes"]].concat()); // nothing is overwritten
        std::fs::write(folder.join("public.pem"), ada.says(&["export", &key_id, "--format", "spki"])).unwrap();
        let form: &[&str] = if kind == "ed25519" { &[] } else { &["-ec_conv_form", "compressed"] };
        let from_private = openssl(&[&["pkey", "-in", &name, "-pubout"], form].concat(), folder);
        assert_eq!(
            from_private,
            openssl(&[&["pkey", "-pubin", "-in", "public.pem", "-pubout"], form].concat(), folder)
        );
        // What is imported is the same key under another ID.
        let imported = ada.json(&["import", "--kind", kind, "--format", format, output]);
        assert_eq!(imported["secrets"][0]["public"].as_str().map(str::to_owned), public);
        assert_ne!(imported["secrets"][0]["key_id"].as_str().unwrap(), key_id);
    }
    let (key_id, _) = ada.generate("ed25519");
    assert!(ada.says(&["export", &key_id, "--format", "openssh"]).starts_with("ssh-ed25519 AAAA"));
    ada.ends(2, &["export", &key_id, "--format", "sec1", "--yes"]);
    assert!(ada.key_ids().len() == 7);
}

#[test]
fn keys_of_openssl_are_imported() {
    let server = MiniServer::start();
    let (ada, folder) = (registered(&server), server.folder());
    let ec = ["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", "ec.pem"];
    if openssl(&ec, folder).is_none() {
        return;
    }
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", "ed.pem"], folder);
    openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "ec.pem", "-out", "ec8.pem"], folder);
    let import = |kind, format, name: &str| {
        let path = folder.join(name);
        ada.json(&["import", "--kind", kind, "--format", format, path.to_str().unwrap()])
    };
    import("secp256k1", "sec1", "ec.pem");
    import("secp256k1", "pkcs8", "ec8.pem");
    let key_id = import("ed25519", "pkcs8", "ed.pem")["secrets"][0]["key_id"].as_str().unwrap().to_owned();
    let spki = ada.says(&["export", &key_id, "--format", "spki"]);
    assert_eq!(Some(spki), openssl(&["pkey", "-in", "ed.pem", "-pubout"], folder));
    let wrong = folder.join("ec.pem");
    let wrong = ["import", "--kind", "ed25519", "--format", "pkcs8", wrong.to_str().unwrap()];
    assert!(ada.complains(2, &wrong).contains("Nothing was sent"));
}

#[test]
fn bytes_go_in_and_come_out_as_they_are() {
    let server = MiniServer::start();
    let ada = registered(&server);
    let path = server.folder().join("raw");
    std::fs::write(&path, [0, 1, 2, 0xff, b'\n']).unwrap();
    let raw = ada.json(&["import", "--kind", "bytes", "--format", "raw", path.to_str().unwrap()]);
    let raw = raw["secrets"][0]["key_id"].as_str().unwrap();
    let output = ada.ends(0, &["export", raw, "--format", "raw", "--yes"]);
    assert_eq!(output.stdout, [0, 1, 2, 0xff, b'\n']);
    let exported = ada.json(&["export", raw, "--format", "raw", "--yes"]);
    assert_eq!(exported["value"], "000102ff0a");
    // The password and the secret on standard input, one after the other.
    let input = b"correct horse battery staple\n00FF10\n";
    let import = ["--password-stdin", "--json", "import", "--kind", "bytes", "--format", "hex", "-"];
    let hex: serde_json::Value = serde_json::from_str(&ada.says_to(input, &import)).unwrap();
    assert_eq!(hex["secrets"][0]["kind"], "bytes(3)");
    let hex = hex["secrets"][0]["key_id"].as_str().unwrap();
    assert_eq!(ada.says(&["export", hex, "--format", "hex", "--yes"]), "00ff10\n");
}

#[test]
fn signatures_are_verified_by_openssl() {
    let server = MiniServer::start();
    let (ada, folder) = (registered(&server), server.folder());
    std::fs::write(folder.join("message"), b"a message").unwrap();
    let message = folder.join("message");
    for kind in ["secp256k1", "ed25519"] {
        let (key_id, _) = ada.generate(kind);
        let signature = ada.says(&["sign", &key_id, message.to_str().unwrap()]);
        if kind == "ed25519" {
            assert_eq!(ada.says_to(b"a message", &["sign", &key_id]), signature, "from standard input");
        }
        let signature = base16ct::lower::decode_vec(signature.trim()).unwrap();
        std::fs::write(folder.join("signature"), signature).unwrap();
        std::fs::write(folder.join("public.pem"), ada.says(&["export", &key_id, "--format", "spki"])).unwrap();
        let verify = ["pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-sigfile", "signature", "-rawin"];
        let digest: &[&str] = if kind == "ed25519" { &[] } else { &["-digest", "sha256"] };
        openssl(&[&verify[..], &["-in", "message"], digest].concat(), folder);
    }
    let (bytes, _) = ada.generate("bytes:32");
    ada.ends(2, &["sign", &bytes, message.to_str().unwrap()]);
}
