//! The tour: everything that a person does with secrets once they are there.

use std::error::Error;

use keystow::testing::MemoryStore;
use keystow::{
    AccountName, AuditFilter, Client, ClientPolicy, ClientSession, Kind, NewSecret, PeerFault, PlainSecret, Refusal,
    VaultFault, VaultPin,
};

use crate::world::{IDENTITY, Result, World, hex};

/// A key of somebody's own, in the form that `openssl genpkey -algorithm ed25519` writes (the one of RFC 8410).
const OWN_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

pub(crate) fn run(account: &AccountName, kind: Kind, password: &str) -> Result<()> {
    let mut world = World::new()?;
    let client = Client::new(account.clone(), IDENTITY, ClientPolicy::default())?;

    println!("\n1. Register {account}, log in, and make a secret of the kind {kind}.");
    world.converse("", client.register(password, &mut world.rng())?)?;
    let mut session = world.converse("", client.log_in(password, None, &mut world.rng())?)?;
    let made = world.make_secret(&mut session, kind)?;
    println!("   key ID {}", made.key_id);

    let imported = import(&mut world, &mut session)?;
    list(&mut world, &mut session)?;
    compare_devices(&mut world, &mut session, &client, password)?;
    export_and_sign(&mut world, &mut session, &imported)?;
    let (before, shown) = (world.server.store.clone(), session.pin().epoch());
    delete(&mut world, &mut session, &made)?;
    put_back(&mut world, (before, shown), &client, password, session.pin())?;
    let mut session = change_password(&mut world, session, &client, password, &imported)?;
    audit(&mut world, &mut session)?;
    leave(&mut world, session, &client, password)
}

fn import(world: &mut World, session: &mut ClientSession) -> Result<NewSecret> {
    println!("\n2. Import an Ed25519 key from PKCS#8 PEM: sealed and stored as a generated one.");
    let secret = PlainSecret::pkcs8_pem(Kind::Ed25519, OWN_KEY)?;
    let pending = world.converse(" generate", session.import(vec![secret], &mut world.rng())?)?;
    let store = session.store(&pending)?;
    let stored = world.settle(" store", session, store)?;
    let imported = *stored.first().ok_or("nothing was stored")?;
    println!("   key ID {}", imported.key_id);
    Ok(imported)
}

fn list(world: &mut World, session: &mut ClientSession) -> Result<()> {
    println!("\n3. List everything: each record is opened, and the whole compared with the vault's newest head.");
    let list = session.list()?;
    for secret in world.settle(" list", session, list)? {
        let public = secret.public.map_or_else(|| "-".to_string(), |public| public.to_string());
        println!("   {} {} {:?} {public}", secret.key_id, secret.kind, secret.origin);
    }
    Ok(())
}

fn compare_devices(world: &mut World, session: &mut ClientSession, client: &Client, password: &str) -> Result<()> {
    println!("\n4. A second device: it has no pin yet, so the first one compares.");
    let mut second = world.converse("", client.log_in(password, None, &mut world.rng())?)?;
    println!("   the second device trusts the server on {:?}; what it stores moves the vault on", second.trust());
    world.make_secret(&mut second, Kind::Bytes(32))?;
    let spoken = second.pin().to_string();
    println!("   its pin, read aloud: {spoken}");

    let pin: VaultPin = spoken.parse()?;
    let verify = session.verify_pin(pin)?;
    world.settle(" verify", session, verify)?;
    println!("   the first device finds it on its own vault's chain, and has caught up: {}", session.pin() == pin);
    Ok(())
}

fn export_and_sign(world: &mut World, session: &mut ClientSession, imported: &NewSecret) -> Result<()> {
    println!("\n5. Retrieve the imported key, export it, and sign with it.");
    let secrets = world.converse(" retrieve", session.retrieve(&[imported.key_id])?)?;
    let secret = secrets.first().ok_or("nothing was retrieved")?;
    let pem = secret.to_pkcs8_pem()?;
    println!("   PKCS#8 PEM, the same as was imported: {}", *pem == OWN_KEY);
    let public = secret.public().ok_or("no public component")?;
    println!("   OpenSSH: {}", public.to_openssh()?);
    println!("   signature of \"hello\": {}", hex(&secret.sign_ed25519(b"hello")?));
    Ok(())
}

fn delete(world: &mut World, session: &mut ClientSession, made: &NewSecret) -> Result<()> {
    println!("\n6. Delete the generated secret; its ID is never free again.");
    let delete = session.delete(&[made.key_id])?;
    world.settle(" delete", session, delete)?;
    // A change that is refused leaves a gap: the sequence numbers that it had reserved for further messages.
    refused(world.converse(" delete", session.delete(&[made.key_id])?), Refusal::AlreadyDeleted(made.key_id))?;
    refused(world.converse(" retrieve", session.retrieve(&[made.key_id])?), Refusal::NotFound)
}

fn put_back(
    world: &mut World,
    (before, shown): (MemoryStore, u64),
    client: &Client,
    password: &str,
    pin: VaultPin,
) -> Result<()> {
    println!("\n7. The server's whole store is put back to what it was before the deletion.");
    let newest = std::mem::replace(&mut world.server.store, before);
    println!("   A login with the kept pin:");
    let fault = VaultFault::RolledBack { known: pin.epoch(), shown };
    let login = world.converse("", client.log_in(password, Some(pin), &mut world.rng())?);
    refused(login, keystow::Error::Peer(PeerFault::Vault(fault)))?;
    println!("   One without a pin can't tell:");
    let session = world.converse("", client.log_in(password, None, &mut world.rng())?)?;
    println!("   logged in, on {:?}, to the vault of epoch {}", session.trust(), session.pin().epoch());
    world.server.store = newest;
    Ok(())
}

fn change_password(
    world: &mut World,
    mut session: ClientSession,
    client: &Client,
    password: &str,
    kept: &NewSecret,
) -> Result<ClientSession> {
    println!("\n8. Change the password; the other sessions end, the secrets stay as they are.");
    let mut other = world.converse("", client.log_in(password, Some(session.pin()), &mut world.rng())?)?;
    let new = new_password(password);
    let change = session.change_password(&new, &mut world.rng())?;
    world.settle(" change", &mut session, change)?;
    refused(world.converse(" retrieve", other.retrieve(&[kept.key_id])?), Refusal::SessionEnded)?;
    let mut session = world.converse("", client.log_in(&new, Some(session.pin()), &mut world.rng())?)?;
    world.converse(" retrieve", session.retrieve(&[kept.key_id])?)?;
    Ok(session)
}

fn audit(world: &mut World, session: &mut ClientSession) -> Result<()> {
    println!("\n9. Read the audit trail.");
    let page = world.converse(" audit", session.audit(AuditFilter::default(), None, 256)?)?;
    for entry in page.entries {
        let outcome = if entry.granted() { "done" } else { "refused" };
        println!(
            "   {} ms  {:?}, {outcome}, {} secrets",
            entry.at().as_millis(),
            entry.action(),
            entry.key_ids().len()
        );
    }
    Ok(())
}

fn leave(world: &mut World, mut session: ClientSession, client: &Client, password: &str) -> Result<()> {
    println!("\n10. Ask what is left of the session, and log out.");
    let pin = session.pin();
    let status = world.converse(" status", session.status()?)?;
    println!("   {:?} in all, {:?} if idle", status.lifetime, status.idle);
    world.converse(" log out", session.log_out()?)?;

    println!("\n11. Delete the account: the vault is closed first, then everything goes.");
    let login = client.log_in(new_password(password), Some(pin), &mut world.rng())?;
    let mut session = world.converse("", login)?;
    world.converse(" delete account", session.delete_account()?)?;
    println!("   accounts left in the store: {}", world.server.store.accounts.len());
    println!("   secrets left in the store:  {}", world.server.store.secrets.len());
    Ok(())
}

/// Any other password of an allowed length.
fn new_password(password: &str) -> Vec<u8> {
    let mut new = password.as_bytes().to_vec();
    if let Some(byte) = new.last_mut() {
        *byte ^= 1;
    }
    new
}

/// Expects this refusal, and shows it.
fn refused<T>(outcome: Result<T>, expected: impl Error + PartialEq + 'static) -> Result<()> {
    match outcome {
        Ok(_) => Err("that should have been refused".into()),
        Err(error) if error.downcast_ref() == Some(&expected) => {
            println!("   refused: {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
