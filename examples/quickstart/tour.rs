//! The tour: everything that a person does with secrets once they are there.

use keystow::operation::delete_account::Deleted;
use keystow::operation::list::Listing;
use keystow::{AccountName, AuditFilter, Client, ClientPolicy, ClientSession, Kind, NewSecret, PlainSecret, Refusal};

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
    export_and_sign(&mut world, &mut session, &imported)?;
    delete(&mut world, &mut session, &made)?;
    let mut session = change_password(&mut world, session, &client, password, &imported)?;
    audit(&mut world, &mut session)?;
    leave(&mut world, session, &client, password)
}

fn import(world: &mut World, session: &mut ClientSession) -> Result<NewSecret> {
    println!("\n2. Import an Ed25519 key from PKCS#8 PEM: sealed and stored as a generated one.");
    let secret = PlainSecret::pkcs8_pem(Kind::Ed25519, OWN_KEY)?;
    let pending = world.converse(" generate", session.import(vec![secret], &mut world.rng())?)?;
    let stored = world.converse(" store", session.store(&pending)?)?;
    let imported = *stored.first().ok_or("nothing was stored")?;
    println!("   key ID {}", imported.key_id);
    Ok(imported)
}

fn list(world: &mut World, session: &mut ClientSession) -> Result<()> {
    println!("\n3. List everything; each record is opened before a field of it is shown.");
    let mut listing = Listing::new();
    while let Some(page) = listing.next_page(session)? {
        let page = world.converse(" list", page)?;
        for secret in listing.take(page) {
            let public = secret.public.map_or_else(|| "-".to_string(), |public| public.to_string());
            println!("   {} {} {:?} {public}", secret.key_id, secret.kind, secret.origin);
        }
    }
    Ok(())
}

fn export_and_sign(world: &mut World, session: &mut ClientSession, imported: &NewSecret) -> Result<()> {
    println!("\n4. Retrieve the imported key, export it, and sign with it.");
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
    println!("\n5. Delete the generated secret; its ID is never free again.");
    world.converse(" delete", session.delete(&[made.key_id])?)?;
    refused(world.converse(" delete", session.delete(&[made.key_id])?), Refusal::AlreadyDeleted(made.key_id))?;
    refused(world.converse(" retrieve", session.retrieve(&[made.key_id])?), Refusal::NotFound)
}

fn change_password(
    world: &mut World,
    mut session: ClientSession,
    client: &Client,
    password: &str,
    kept: &NewSecret,
) -> Result<ClientSession> {
    println!("\n6. Change the password; the other sessions end, the secrets stay as they are.");
    let mut other = world.converse("", client.log_in(password, None, &mut world.rng())?)?;
    let new = new_password(password);
    world.converse(" change", session.change_password(&new, &mut world.rng())?)?;
    refused(world.converse(" retrieve", other.retrieve(&[kept.key_id])?), Refusal::SessionEnded)?;
    let mut session = world.converse("", client.log_in(&new, None, &mut world.rng())?)?;
    world.converse(" retrieve", session.retrieve(&[kept.key_id])?)?;
    Ok(session)
}

fn audit(world: &mut World, session: &mut ClientSession) -> Result<()> {
    println!("\n7. Read the audit trail.");
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
    println!("\n8. Ask what is left of the session, and log out.");
    let status = world.converse(" status", session.status()?)?;
    println!("   {:?} in all, {:?} if idle", status.lifetime, status.idle);
    world.converse(" log out", session.log_out()?)?;

    println!("\n9. Delete the account, page by page.");
    let mut session = world.converse("", client.log_in(new_password(password), None, &mut world.rng())?)?;
    while world.converse(" delete account", session.delete_account()?)? == Deleted::Page {}
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

/// Expects a refusal, and shows it.
fn refused<T>(outcome: Result<T>, expected: Refusal) -> Result<()> {
    match outcome {
        Ok(_) => Err("that should have been refused".into()),
        Err(error) if error.downcast_ref() == Some(&expected) => {
            println!("   refused: {error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
