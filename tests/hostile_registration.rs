//! Registration as an attacker uses it: as an oracle for guesses, with damaged uploads and invalid points, in a race for a
//! name (rules 5, 16, 21 and 23).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod hostile;
mod support;

use hostile::device::transcript;
use hostile::{contains, fault};
use keystow::operation::register::Register;
use keystow::*;
use support::{NOW, PASSWORD, World, client};

/// OPAQUE's upload, wrap and head.
type Contents = ([u8; 192], [u8; 48], [u8; SealedHead::LEN]);

/// A registration as the server sees it, up to the upload, which is not sent.
struct Registration {
    exchange: Exchange<Register>,
    request: ClientMessage,
    response: ServerMessage,
}

impl Registration {
    fn begin(world: &mut World, account: &str, password: &str) -> Self {
        let mut exchange = client(account).register(password, &mut world.rng).unwrap();
        let request = exchange.message().clone();
        let response = world.send(&request).unwrap();
        assert!(exchange.receive(response.clone()).unwrap().is_none());
        Self { exchange, request, response }
    }

    fn upload(&self) -> (Contents, [u8; 32]) {
        match self.exchange.message() {
            ClientMessage::RegistrationUpload { upload, wrap, head, transcript, .. } => {
                ((*upload.as_bytes(), *wrap, *head.as_bytes()), *transcript)
            }
            other => panic!("no upload: {other:?}"),
        }
    }

    fn with_upload(&self, (upload, wrap, head): Contents, transcript: [u8; 32]) -> ClientMessage {
        let session_id = self.response.session_id();
        let upload = Box::new(OpaqueMessage::from_bytes(upload));
        let head = Box::new(SealedHead::from_bytes(head));
        ClientMessage::RegistrationUpload { session_id, upload, wrap, head, transcript }
    }

    fn transcript(&self, (upload, wrap, head): &Contents) -> [u8; 32] {
        transcript(&self.request, &self.response, upload, wrap, &SealedHead::from_bytes(*head))
    }
}

/// The element that the server evaluates in answer to a blinded one, at registration or at login.
fn evaluated(world: &mut World, message: &ClientMessage) -> [u8; 32] {
    // Without its session, a repeated message is a new one.
    world.server.crash();
    match world.send(message).unwrap() {
        ServerMessage::RegistrationResponse { evaluated, .. } => *evaluated.as_bytes().first_chunk().unwrap(),
        ServerMessage::LoginResponse { ke2, .. } => *ke2.as_bytes().first_chunk().unwrap(),
        other => panic!("no evaluation: {other:?}"),
    }
}

/// A login request, and a registration request for the same name with the same blinded password.
fn same_blinded(world: &mut World, account: &str) -> (ClientMessage, ClientMessage) {
    let login = client(account).log_in(PASSWORD, None, &mut world.rng).unwrap();
    let ClientMessage::LoginRequest { account, ke1, .. } = login.message() else { panic!("no login request") };
    let blinded = Box::new(OpaqueMessage::from_bytes(*ke1.as_bytes().first_chunk().unwrap()));
    (login.message().clone(), ClientMessage::RegistrationRequest { account: account.clone(), blinded })
}

#[test]
fn rule_5_registration_evaluates_nothing_that_helps_to_guess_an_accounts_password() {
    let mut world = support::world(1);
    let (_, _) = world.person("ada");
    let (login, registration) = same_blinded(&mut world, "ada");
    let at_login = evaluated(&mut world, &login);
    assert_eq!(evaluated(&mut world, &login), at_login, "a login's evaluation is the account's own");
    let at_registration: Vec<_> = (0..8).map(|_| evaluated(&mut world, &registration)).collect();
    for (i, element) in at_registration.iter().enumerate() {
        assert_ne!(*element, at_login);
        assert!(!at_registration[..i].contains(element), "each registration has an identifier of its own");
    }
}

#[test]
fn rule_5_a_live_credential_identifier_is_evaluated_in_a_charged_login_alone() {
    let mut world = support::world(2);
    let (_, _) = world.person("ada");
    let (login, registration) = same_blinded(&mut world, "ada");
    let before = world.server.store.clone();
    for _ in 0..20 {
        evaluated(&mut world, &registration);
    }
    assert_eq!(world.server.store, before, "registration requests write nothing");
    evaluated(&mut world, &login);
    let charged: u32 = world.server.store.attempts.values().map(|attempts| attempts.count).sum();
    assert_eq!(charged, 1);
}

/// The account's identifier is drawn by the server and stays there: no message of the registration holds it.
#[test]
fn rule_5_the_credential_identifier_never_leaves_the_server() {
    let mut world = support::world(3);
    let registration = Registration::begin(&mut world, "ada", PASSWORD);
    world.send(registration.exchange.message()).unwrap();
    let credential = world.server.store.accounts[client("ada").account()].credential;
    let said =
        [registration.request.encode(), registration.response.encode(), registration.exchange.message().encode()];
    assert!(said.iter().all(|bytes| !contains(bytes.as_ref().unwrap(), &credential.as_bytes()[..8])));
}

#[test]
fn rule_16_a_registration_request_without_a_valid_point_is_refused_and_leaves_no_session() {
    let mut world = support::world(4);
    for blinded in [[0; 32], [0xff; 32], [1; 32]] {
        let blinded = Box::new(OpaqueMessage::from_bytes(blinded));
        let request = ClientMessage::RegistrationRequest { account: client("ada").account().clone(), blinded };
        assert_eq!(support::error(world.send(&request)), PeerFault::InvalidElement.into());
        assert!(world.server.sessions.is_empty());
    }
}

#[test]
fn rule_16_a_damaged_upload_makes_no_account_and_the_whole_one_still_does() {
    let mut world = support::world(5);
    let registration = Registration::begin(&mut world, "ada", PASSWORD);
    let (whole, transcript) = registration.upload();
    assert_eq!(registration.transcript(&whole), transcript, "the formula that anyone can compute");
    let (upload, wrap, head) = whole;
    let uploads = hostile::flipped(&upload).map(|upload| ((upload.try_into().unwrap(), wrap, head), transcript));
    let wraps = hostile::flipped(&wrap).map(|wrap| ((upload, wrap.try_into().unwrap(), head), transcript));
    let heads = hostile::flipped(&head).map(|head| ((upload, wrap, head.try_into().unwrap()), transcript));
    let hashes = hostile::flipped(&transcript).map(|transcript| (whole, transcript.try_into().unwrap()));
    for (damaged, transcript) in uploads.chain(wraps).chain(heads).chain(hashes) {
        let message = registration.with_upload(damaged, transcript);
        assert_eq!(support::error(world.send(&message)), PeerFault::Transcript.into());
    }
    assert_eq!(world.server.store, testing::MemoryStore::new());
    world.send(registration.exchange.message()).unwrap();
    assert!(world.log_in(&client("ada"), PASSWORD).unwrap().is_ok());
}

/// The client's public key is the upload's first 32 bytes. The identity element would make a login that anybody can finish.
#[test]
fn rule_16_an_upload_with_an_invalid_public_key_is_refused_though_its_transcript_is_right() {
    let mut world = support::world(6);
    let registration = Registration::begin(&mut world, "ada", PASSWORD);
    let (whole, _) = registration.upload();
    for public_key in [[0; 32], [0xff; 32], [1; 32]] {
        let mut damaged = whole;
        damaged.0[..32].copy_from_slice(&public_key);
        let message = registration.with_upload(damaged, registration.transcript(&damaged));
        assert_eq!(support::error(world.send(&message)), PeerFault::InvalidElement.into());
    }
    assert_eq!(world.server.store, testing::MemoryStore::new());
}

/// The chain of an account begins at 0: no change could ever go on from another number.
#[test]
fn rule_16_an_upload_with_a_head_of_another_number_is_refused_though_its_transcript_is_right() {
    let mut world = support::world(11);
    let registration = Registration::begin(&mut world, "ada", PASSWORD);
    let (whole, transcript) = registration.upload();
    assert_eq!(whole.2[..8], [0; 8]);
    for epoch in [1, 2, 1 << 32, u64::MAX] {
        let mut damaged = whole;
        damaged.2[..8].copy_from_slice(&epoch.to_be_bytes());
        let message = registration.with_upload(damaged, registration.transcript(&damaged));
        assert_eq!(support::error(world.send(&message)), PeerFault::Undecodable.into());
    }
    assert_eq!(world.server.store, testing::MemoryStore::new());
    world.send(&registration.with_upload(whole, transcript)).unwrap();
    assert!(world.log_in(&client("ada"), PASSWORD).unwrap().is_ok());
}

#[test]
fn rule_16_a_response_without_valid_points_is_refused_by_the_client() {
    let mut world = support::world(7);
    let mut exchange = client("ada").register(PASSWORD, &mut world.rng).unwrap();
    let request = exchange.message().clone();
    let honest = world.send(&request).unwrap();
    let ServerMessage::RegistrationResponse { session_id, user_id, evaluated } = honest.clone() else {
        panic!("no response")
    };
    for (half, point) in [0, 32].into_iter().flat_map(|half| [[0; 32], [0xff; 32], [1; 32]].map(|point| (half, point)))
    {
        let mut bytes = *evaluated.as_bytes();
        bytes[half..half + 32].copy_from_slice(&point);
        let evaluated = Box::new(OpaqueMessage::from_bytes(bytes));
        let message = ServerMessage::RegistrationResponse { session_id, user_id, evaluated };
        assert_eq!(fault(exchange.receive(message)), PeerFault::InvalidElement.into());
        assert_eq!(*exchange.message(), request);
    }
    // The blinded element, sent back as its own evaluation, would make the password's hash one without the server's key.
    let ClientMessage::RegistrationRequest { blinded, .. } = &request else { panic!("no request") };
    let mut bytes = *evaluated.as_bytes();
    bytes[..32].copy_from_slice(blinded.as_bytes());
    let evaluated = Box::new(OpaqueMessage::from_bytes(bytes));
    let reflected = ServerMessage::RegistrationResponse { session_id, user_id, evaluated };
    assert_eq!(fault(exchange.receive(reflected)), PeerFault::InvalidElement.into());
    assert!(exchange.receive(honest).unwrap().is_none());
}

#[test]
fn rule_21_of_two_that_race_for_a_name_one_gets_it_whole_and_the_other_is_told() {
    let mut world = support::world(8);
    let first = Registration::begin(&mut world, "ada", "the first password");
    let second = Registration::begin(&mut world, "ada", "the second password");
    let refused = |registration: &Registration| ServerMessage::Refused {
        session_id: registration.response.session_id(),
        refusal: Refusal::NameTaken,
    };
    let registered = world.send(second.exchange.message()).unwrap();
    assert_eq!(registered, ServerMessage::Registered { session_id: second.response.session_id() });
    let after = world.server.store.clone();
    assert_eq!(world.send(first.exchange.message()).unwrap(), refused(&first));
    assert_eq!(world.server.store, after);

    // Each is answered as before, whatever comes again and in which order.
    assert_eq!(world.send(first.exchange.message()).unwrap(), refused(&first));
    assert_eq!(world.send(second.exchange.message()).unwrap(), registered);
    assert_eq!(world.server.store, after);
    let failed = support::error(world.log_in(&client("ada"), "the first password"));
    assert_eq!(failed, PeerFault::LoginFailed.into());
    assert!(world.log_in(&client("ada"), "the second password").unwrap().is_ok());
}

#[test]
fn rule_21_an_account_is_never_replaced_by_registering_its_name_again() {
    let mut world = support::world(9);
    let (client, _) = world.person("ada");
    let accounts = world.server.store.accounts.clone();
    let again = Registration::begin(&mut world, "ada", "another password");
    let refusal = Refusal::NameTaken;
    let session_id = again.response.session_id();
    assert_eq!(world.send(again.exchange.message()).unwrap(), ServerMessage::Refused { session_id, refusal });
    assert_eq!(world.server.store.accounts, accounts);
    assert!(world.log_in(&client, PASSWORD).unwrap().is_ok());
}

#[test]
fn rule_23_a_registration_that_is_never_finished_is_held_for_its_time_and_no_longer() {
    let mut world = support::world(10);
    let registration = Registration::begin(&mut world, "ada", PASSWORD);
    let session_id = registration.response.session_id();
    let expires = world.server.sessions[&session_id].expires().unwrap();
    assert_eq!(expires, NOW.after(ServerPolicy::default().handshake_timeout));
    world.now = Timestamp::from_millis(expires.as_millis() + 1);
    let late = world.send(registration.exchange.message()).unwrap();
    assert_eq!(late, ServerMessage::Refused { session_id, refusal: Refusal::SessionEnded });
    assert_eq!(world.server.store, testing::MemoryStore::new());
}
