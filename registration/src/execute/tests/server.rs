//! A token service and a journal in memory. The server rotates the registration token on every PUT, refuses echoed
//! members, replaces metadata whole and answers 401 after a deletion, as `oidc-provider` does.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, Response};
use serde_json::{Value, json};

use crate::{Delivery, Document, Journal, JournalEntry, JournalError, Transport, TransportError};

/// What happens to the next call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// The server acts, but its answer is lost.
    LoseAnswer,
    /// The request does not leave.
    NotSent,
    /// The server does nothing and answers this.
    Status(u16),
}

/// Where a process ends: at the given call to journal or transport, counted from 0, before or after it took effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    pub(super) at: usize,
    pub(super) after: bool,
}

#[derive(Default)]
pub(super) struct Failpoint {
    crash: Option<Crash>,
    calls: usize,
}

pub(super) type SharedFuse = Arc<Mutex<Failpoint>>;

#[derive(Clone)]
pub(super) struct Client {
    pub(super) token: String,
    secret: String,
    pub(super) metadata: Document,
}

#[derive(Default)]
struct State {
    clients: BTreeMap<String, Client>,
    calls: Vec<String>,
    fault: Option<Fault>,
    fault_at: Option<(&'static str, Fault)>,
    issued: usize,
    expires_at: u64,
    tokens: usize,
}

pub(super) struct Server {
    state: Mutex<State>,
    pub(super) failpoint: SharedFuse,
    home: &'static str,
    ignores: Option<&'static str>,
    unmanaged: bool,
}

/// The journal: bytes, as a Secret would hold them.
#[derive(Default)]
pub(super) struct FakeJournal {
    bytes: Option<Vec<u8>>,
    failpoint: SharedFuse,
    stores: usize,
    failing: Option<(Range<usize>, JournalError)>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            failpoint: SharedFuse::default(),
            home: "https://login.example.com",
            ignores: None,
            unmanaged: false,
        }
    }
}

/// Counts a call; waits for ever when the process is to end here.
async fn pass(failpoint: &SharedFuse, after: bool) {
    let ends = {
        let mut failpoint = failpoint.lock().unwrap();
        if !after {
            failpoint.calls += 1;
        }
        failpoint.crash.is_some_and(|crash| crash.after == after && crash.at + 1 == failpoint.calls)
    };
    if ends {
        std::future::pending::<()>().await;
    }
}

impl Failpoint {
    pub(super) fn set(&mut self, crash: Option<Crash>) {
        *self = Self { crash, calls: 0 };
    }
}

impl Server {
    pub(super) fn ignoring(member: &'static str) -> Self {
        Self { ignores: Some(member), ..Self::default() }
    }

    pub(super) fn without_management() -> Self {
        Self { unmanaged: true, ..Self::default() }
    }

    pub(super) fn at_home(home: &'static str) -> Self {
        Self { home, ..Self::default() }
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    pub(super) fn client(&self, id: &str) -> Client {
        self.state.lock().unwrap().clients[id].clone()
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap().clients.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.state.lock().unwrap().fault = Some(fault);
    }

    /// What happens to the next call of that name alone.
    pub(super) fn fail_at(&self, call: &'static str, fault: Fault) {
        self.state.lock().unwrap().fault_at = Some((call, fault));
    }

    pub(super) fn set_token(&self, id: &str, token: &str) {
        token.clone_into(&mut self.state.lock().unwrap().clients.get_mut(id).unwrap().token);
    }

    pub(super) fn renew_secret(&self, id: &str) {
        "renewed".clone_into(&mut self.state.lock().unwrap().clients.get_mut(id).unwrap().secret);
    }

    pub(super) fn change(&self, id: &str, member: &str, value: Value) {
        self.state.lock().unwrap().clients.get_mut(id).unwrap().metadata.insert(member.to_owned(), value);
    }

    fn act(&self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(request.method().to_string());
        if let Some(Fault::Status(status)) = state.fault {
            state.fault = None;
            return answer(status, &json!({"error": "invalid_client_metadata"}));
        }
        if let Some((call, Fault::Status(status))) = state.fault_at
            && (call == "PROBE") == (request.uri().path() == "/token")
        {
            state.fault_at = None;
            return answer(status, &Value::Null);
        }
        if request.uri().path() == "/token" {
            state.calls.pop();
            state.calls.push("PROBE".to_owned());
            return token_answer(&state, request);
        }
        let bearer = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        if request.method() == "POST" {
            assert_eq!((request.uri().path(), bearer.as_str()), ("/reg", "initial"));
            state.issued += 1;
            let id = format!("c{}", state.issued);
            let metadata = self.accept(serde_json::from_slice(request.body()).unwrap());
            state.clients.insert(id.clone(), Client { token: String::new(), secret: format!("secret-{id}"), metadata });
            return answer(201, &self.describe(&mut state, &id, true));
        }
        let id = request.uri().path().strip_prefix("/reg/").unwrap().to_owned();
        if state.clients.get(&id).is_none_or(|client| client.token != bearer) {
            return answer(401, &json!({"error": "invalid_token"}));
        }
        match request.method().as_str() {
            "GET" => answer(200, &self.describe(&mut state, &id, false)),
            "PUT" => {
                let mut metadata: Document = serde_json::from_slice(request.body()).unwrap();
                for echoed in [
                    "registration_access_token",
                    "registration_client_uri",
                    "client_secret_expires_at",
                    "client_id_issued_at",
                ] {
                    assert!(!metadata.contains_key(echoed), "{echoed}");
                }
                assert_eq!(metadata.remove("client_id"), Some(json!(id)));
                assert_eq!(metadata.remove("client_secret"), Some(json!(state.clients[&id].secret)));
                state.clients.get_mut(&id).unwrap().metadata = self.accept(metadata);
                answer(200, &self.describe(&mut state, &id, true))
            }
            "DELETE" => {
                state.clients.remove(&id);
                answer(204, &Value::Null)
            }
            other => panic!("{other}"),
        }
    }

    /// The client is deleted by somebody else.
    pub(super) fn delete(&self, id: &str) {
        self.state.lock().unwrap().clients.remove(id).unwrap();
    }

    pub(super) fn expire(&self, seconds: u64) {
        self.state.lock().unwrap().expires_at = seconds;
    }

    fn accept(&self, mut metadata: Document) -> Document {
        if let Some(member) = self.ignores {
            metadata.remove(member);
        }
        metadata
    }

    fn describe(&self, state: &mut State, id: &str, rotate: bool) -> Value {
        if rotate {
            state.tokens += 1;
            state.clients.get_mut(id).unwrap().token = format!("t{}", state.tokens);
        }
        let Client { token, secret, mut metadata } = state.clients[id].clone();
        metadata.insert("client_id".to_owned(), json!(id));
        metadata.insert("client_id_issued_at".to_owned(), json!(7));
        metadata.insert("client_secret".to_owned(), json!(secret));
        metadata.insert("client_secret_expires_at".to_owned(), json!(state.expires_at));
        if !self.unmanaged {
            metadata.insert("registration_access_token".to_owned(), json!(token));
            metadata.insert("registration_client_uri".to_owned(), json!(format!("{}/reg/{id}", self.home)));
        }
        Value::Object(metadata)
    }
}

/// The token endpoint knows a client by its secret in the header, or by the assertion of the test's keys.
fn token_answer(state: &State, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(request.body()).into_owned().collect();
    let known = if let Some(basic) = request.headers().get("authorization") {
        let basic = basic.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        let (id, secret) = pair.split_once(':').unwrap();
        state.clients.get(id).is_some_and(|client| client.secret == secret)
    } else {
        let (id, kid) = form["client_assertion"].split_once(' ').unwrap();
        state.clients.get(id).is_some_and(|client| {
            client.metadata["jwks"]["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid)
        })
    };
    let (status, error) = if known { (400, "invalid_grant") } else { (401, "invalid_client") };
    answer(status, &json!({"error": error}))
}

fn answer(status: u16, body: &Value) -> Response<Vec<u8>> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Response::builder().status(status).header("cache-control", "no-store").body(body).unwrap()
}

impl Transport for Server {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        pass(&self.failpoint, false).await;
        let fault = self.state.lock().unwrap().fault.take_if(|fault| !matches!(fault, Fault::Status(_)));
        if let Some(Fault::NotSent) = fault {
            return Err(TransportError::new(Delivery::NotSent, "connection refused"));
        }
        let response = self.act(&request);
        pass(&self.failpoint, true).await;
        if let Some(Fault::LoseAnswer) = fault {
            return Err(TransportError::new(Delivery::Unknown, "connection reset"));
        }
        Ok(response)
    }
}

impl FakeJournal {
    pub(super) fn with_fuse(failpoint: SharedFuse) -> Self {
        Self { failpoint, ..Self::default() }
    }

    pub(super) fn entry(&self) -> JournalEntry {
        self.bytes.as_ref().map(|bytes| JournalEntry::from_bytes(bytes).unwrap()).unwrap_or_default()
    }

    pub(super) fn put(&mut self, entry: &JournalEntry) {
        self.bytes = Some(entry.to_bytes().to_vec());
    }

    pub(super) fn token(&self) -> String {
        self.entry().registration.unwrap().registration_access_token.unwrap().expose().to_owned()
    }

    /// The stores of these numbers, counted from 1, fail.
    pub(super) fn fail_stores(&mut self, stores: Range<usize>, error: &JournalError) {
        self.failing = Some((stores, error.clone()));
    }

    pub(super) fn fail_stores_from(&mut self, first: usize, error: &JournalError) {
        self.fail_stores(first..usize::MAX, error);
    }
}

impl Journal for FakeJournal {
    async fn load(&mut self) -> Result<JournalEntry, JournalError> {
        pass(&self.failpoint, false).await;
        pass(&self.failpoint, true).await;
        Ok(self.entry())
    }

    async fn store(&mut self, entry: &JournalEntry) -> Result<(), JournalError> {
        pass(&self.failpoint, false).await;
        self.stores += 1;
        if let Some((stores, error)) = &self.failing
            && stores.contains(&self.stores)
        {
            return Err(error.clone());
        }
        self.bytes = if entry.is_blank() { None } else { Some(entry.to_bytes().to_vec()) };
        pass(&self.failpoint, true).await;
        Ok(())
    }

    async fn clear(&mut self) -> Result<(), JournalError> {
        pass(&self.failpoint, false).await;
        self.bytes = None;
        pass(&self.failpoint, true).await;
        Ok(())
    }
}
