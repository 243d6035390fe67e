//! Custody: list, import, export, sign, delete, change password, audit, status, log out, delete account.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use keystow::operation::delete_account::Deleted;
use keystow::operation::list::Listing;
use keystow::*;
use support::{PASSWORD, world};

#[test]
fn a_persons_whole_custody() {
    let mut world = world(7);
    let (client, mut session) = world.person("ada");
    let new = world.secret(&mut session, Kind::Secp256k1);
    let imported =
        vec![PlainSecret::bytes(vec![7; 65_536]).unwrap(), PlainSecret::hex(Kind::Ed25519, &"9d".repeat(32)).unwrap()];
    let exchange = session.import(imported, &mut world.rng).unwrap();
    let pending = world.run(exchange).unwrap().unwrap();
    let stored = world.store(&mut session, &pending).unwrap().unwrap();

    let (mut listing, mut listed) = (Listing::new(), Vec::new());
    while let Some(exchange) = listing.next_page(&mut session).unwrap() {
        listed.extend(listing.take(world.run(exchange).unwrap().unwrap()));
    }
    assert_eq!(listed.len(), 3);
    let secrets = world.retrieve(&mut session, &[new.key_id, stored[0].key_id, stored[1].key_id]).unwrap().unwrap();
    assert_eq!(secrets[1].expose(), vec![7; 65_536]);
    println!("{}{}", &*secrets[0].to_pkcs8_pem().unwrap(), &*secrets[0].to_sec1_pem().unwrap());
    println!("{}{}", &*secrets[2].to_pkcs8_pem().unwrap(), secrets[2].public().unwrap().to_openssh().unwrap());
    println!("{:?}", secrets[0].sign_ecdsa(b"hello").unwrap());

    let mut other = world.log_in(&client, PASSWORD).unwrap().unwrap();
    let exchange = session.change_password("another", &mut world.rng).unwrap();
    world.run(exchange).unwrap().unwrap();
    assert!(world.log_in(&client, PASSWORD).is_err());
    assert_eq!(world.retrieve(&mut other, &[new.key_id]).unwrap().unwrap_err(), Refusal::SessionEnded);
    let mut other = world.log_in(&client, "another").unwrap().unwrap();
    world.retrieve(&mut other, &[new.key_id]).unwrap().unwrap();
    world.retrieve(&mut session, &[new.key_id]).unwrap().unwrap();

    let exchange = session.delete(&[new.key_id]).unwrap();
    world.run(exchange).unwrap().unwrap();
    let exchange = session.delete(&[new.key_id]).unwrap();
    assert_eq!(world.run(exchange).unwrap().unwrap_err(), Refusal::AlreadyDeleted(new.key_id));
    assert_eq!(world.retrieve(&mut session, &[new.key_id]).unwrap().unwrap_err(), Refusal::NotFound);

    let exchange = session.audit(AuditFilter::default(), None, 256).unwrap();
    for entry in world.run(exchange).unwrap().unwrap().entries {
        println!("{entry:?}");
    }
    let exchange = session.status().unwrap();
    println!("{:?}", world.run(exchange).unwrap().unwrap());
    let exchange = other.log_out().unwrap();
    world.run(exchange).unwrap().unwrap();
    let exchange = session.delete_account().unwrap();
    assert_eq!(world.run(exchange).unwrap().unwrap(), Deleted::Page);
    let exchange = session.delete_account().unwrap();
    assert_eq!(world.run(exchange).unwrap().unwrap(), Deleted::All);
    assert_eq!(
        world.server.store,
        testing::MemoryStore { attempts: world.server.store.attempts.clone(), ..Default::default() }
    );
}
