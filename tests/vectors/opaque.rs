//! Section 10 of the protocol's page: OPAQUE's calls on both sides, with its inputs and draws.

use opaque_ke::{
    ClientLogin, ClientRegistration, ClientRegistrationFinishParameters, CredentialRequest, Identifiers,
    RegistrationRequest, RegistrationResponse, ServerLogin, ServerLoginParameters, ServerRegistration,
};

use super::page::{Draw, Stretch, Suite, info, long, prefixed, varint};
use super::replay::{Replay, drawn};
use super::run::Inputs;

/// Names and password, as OPAQUE takes them (section 10).
pub(crate) struct Person<'a> {
    pub(crate) account: &'a [u8],
    pub(crate) server: &'a [u8],
    pub(crate) input: Vec<u8>,
}

impl Person<'_> {
    pub(crate) fn identifiers(&self) -> Identifiers<'_> {
        Identifiers { client: Some(self.account), server: Some(self.server) }
    }
}

/// Section 10: the profile's three numbers.
fn profile(inputs: &Inputs) -> [u32; 3] {
    [inputs.ksf_memory_kib, inputs.ksf_passes, inputs.ksf_lanes]
}

impl<'a> Replay<'a> {
    pub(crate) fn person(&self, account: &'a str, password: &str) -> Person<'a> {
        let (account, server) = (account.as_bytes(), self.inputs.server_identity.as_bytes());
        Person { account, server, input: [&prefixed(account)[..], &prefixed(server), password.as_bytes()].concat() }
    }

    /// 9807/5.2.1 and 5.2.3: upload, export_key, and what may be drawn of more. `answer` gives the server's evaluation.
    pub(crate) fn register(
        &mut self,
        name: &str,
        person: &Person<'_>,
        answer: impl FnOnce(&mut Self, &[u8]) -> Vec<u8>,
    ) -> (Vec<u8>, Vec<u8>, Draw) {
        let seed = drawn(&mut self.client);
        let mut draw = self.book.draw(&format!("{name}: request"), &seed, b"request");
        let started = ClientRegistration::<Suite>::start(&mut draw, &person.input).unwrap();
        self.book.drawn(draw);
        let (blinded, state) = (started.message.serialize(), started.state.serialize());
        let evaluated = answer(self, &blinded);
        let response = RegistrationResponse::deserialize(&evaluated).unwrap();
        let mut draw = self.book.draw(&format!("{name}: upload"), &seed, b"upload");
        let stretch = Stretch::default();
        let parameters = ClientRegistrationFinishParameters::new(person.identifiers(), Some(&stretch));
        let result = started.state.finish(&mut draw, &person.input, response, parameters).unwrap();
        let (upload, export_key) = (result.message.serialize().to_vec(), result.export_key.to_vec());
        let stretched = stretch.0.into_inner();
        let values: [(&str, &[u8]); 8] = [
            ("password input", &person.input),
            ("blind", &state[..32]),
            ("blinded", &blinded),
            ("evaluated", &evaluated),
            ("stretch of", &stretched[0].0),
            ("stretched", &stretched[0].1),
            ("upload", &upload),
            ("export_key", &export_key),
        ];
        self.book.note("OPAQUE registration", name, None, &values);
        (upload, export_key, draw)
    }

    /// 9807/5.2.2.
    pub(crate) fn evaluate(&self, blinded: &[u8], credential: &[u8]) -> Vec<u8> {
        let request = RegistrationRequest::deserialize(blinded).unwrap();
        ServerRegistration::start(&self.setup, request, credential).unwrap().message.serialize().to_vec()
    }

    /// Sections 10 and 12, to KE2: the client's state, KE2, and the session's seed and ID.
    pub(crate) fn start_login(
        &mut self,
        name: &str,
        person: &Person<'_>,
        record: &[u8],
        credential: &[u8],
    ) -> (ClientLogin<Suite>, Vec<u8>, [u8; 32], Vec<u8>) {
        let seed = drawn(&mut self.client);
        let mut draw = self.book.draw(&format!("{name}: KE1"), &seed, b"KE1\0");
        let started = ClientLogin::<Suite>::start(&mut draw, &person.input).unwrap();
        self.book.drawn(draw);
        let ke1 = started.message.serialize();
        let numbers = profile(self.inputs).map(|number| varint(number.into())).concat();
        let request = self.expect("login request", &[&[1, 2], &long(person.account), &numbers, &ke1]);
        let session_id = self.fingerprint(&format!("{name}: session ID"), &request);
        let server_seed = drawn(&mut self.server);
        let mut draw = self.book.draw(&format!("{name}: KE2"), &server_seed, &session_id);
        let context = self.context();
        let parameters = ServerLoginParameters { context: Some(&context), identifiers: person.identifiers() };
        let record = Some(ServerRegistration::deserialize(record).unwrap());
        let request = CredentialRequest::deserialize(&ke1).unwrap();
        let answer = ServerLogin::start(&mut draw, &self.setup, record, request, credential, parameters).unwrap();
        self.book.drawn(draw);
        let ke2 = answer.message.serialize().to_vec();
        self.expect("login response", &[&[1, 2], &session_id, &ke2]);
        let state = started.state.serialize();
        let values: [(&str, &[u8]); 6] = [
            ("password input", &person.input),
            ("blind", &state[..32]),
            ("context", &context),
            ("credential identifier", credential),
            ("KE1", &ke1),
            ("KE2", &ke2),
        ];
        self.book.note("OPAQUE login, to KE2", name, None, &values);
        (started.state, ke2, server_seed, session_id)
    }

    pub(crate) fn context(&mut self) -> Vec<u8> {
        let suite = b"ristretto255-SHA512 3DH Argon2id HKDF-SHA-256 AES-256-GCM-SIV";
        let (suite, profile) = (&suite[..], profile(self.inputs).map(u32::to_be_bytes).concat());
        let context = info("opaque context", &[suite, &profile]);
        if self.book.0.iter().all(|step| step["label"] != "opaque context") {
            let values = [("suite", suite), ("profile", &profile), ("gives", &context)];
            self.book.note("info", "OPAQUE's context", Some("opaque context"), &values);
        }
        context
    }
}
