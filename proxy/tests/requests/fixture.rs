//! A proxy process, an application behind it, and a client that says exactly what a test wants said.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{KeySet, NamespacedName, Secret, SecretName, Snapshot};
use portreeve_wire::{ResourceSet, proto};
use prost::Message;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that a test starts; ended when dropped.
pub(crate) struct Fixture {
    proxy: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    folder: PathBuf,
    app: Arc<App>,
}

#[derive(Default)]
struct App {
    log: Mutex<Vec<String>>,
    stopped: AtomicBool,
    port: u16,
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
    /// What came behind it on the connection.
    pub(crate) rest: String,
}

/// A connection on which anything can be said.
pub(crate) struct Client(TcpStream);

/// Signs tokens with a key of its own.
pub(crate) struct Signer(Ed25519KeyPair);

/// A rule that asks nobody, below a prefix.
pub(crate) fn open_rule(name: &str, prefix: &str) -> Value {
    json!({
        "name": name, "matches": [{"path": {"prefix": prefix}, "methods": [], "headers": []}], "timeout": 5000,
        "upgrades": [], "policies": [],
        "state": {"ready": {"limits": "none", "authentication": "anonymous", "authorization": "anyone"}},
    })
}

/// Access by a signed token of audience `orders` with this scope.
pub(crate) fn jwt_access(scope: &str) -> Value {
    guarded(&json!([{"allOf": [{"jwt": jwt_rule()}]}]), scope)
}

/// Access by one of these alternatives, with this scope.
pub(crate) fn guarded(alternatives: &Value, scope: &str) -> Value {
    json!({"ready": {"limits": "none",
        "authentication": {"anyOf": alternatives},
        "authorization": {"allOf": [{"scopes": {"allOf": [scope], "anyOf": []}}]},
    }})
}

/// Signed tokens of audience `orders`.
pub(crate) fn jwt_rule() -> Value {
    json!({
        "tokenService": "default/login", "audiences": ["orders"], "tokenType": "accessToken",
        "proof": {"required": [], "dpopNonce": false}, "upstreamToken": "original",
    })
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
    }

    pub(crate) fn new_other() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap())
    }

    /// Signs any header and any claims.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()).as_ref()))
    }

    /// The public key, without `kid`.
    pub(crate) fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())})
    }

    pub(crate) fn token(&self, scope: &str, audience: &str) -> String {
        self.sign("https://login.example.com", scope, audience)
    }

    /// A token of another issuer.
    pub(crate) fn token_of(&self, issuer: &str) -> String {
        self.sign(issuer, "orders:read", "orders")
    }

    /// A token for the audience `orders` with more claims.
    pub(crate) fn token_with(&self, more: &Value) -> String {
        let mut claims = json!({"iss": "https://login.example.com", "aud": "orders"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sign_claims(claims)
    }

    fn sign(&self, issuer: &str, scope: &str, audience: &str) -> String {
        self.sign_claims(json!({"iss": issuer, "aud": audience, "scope": scope}))
    }

    fn sign_claims(&self, mut claims: Value) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        claims["exp"] = json!(now + 60);
        let header = json!({"alg": "EdDSA", "kid": "ed-1", "typ": "at+jwt"}).to_string();
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()).as_ref()))
    }

    pub(crate) fn key_set(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": x}]})
    }
}

impl Fixture {
    /// A proxy that runs these rules.
    pub(crate) fn start(rules: &Value) -> Self {
        Self::start_with(rules, None)
    }

    /// The same, with a token service of these keys.
    pub(crate) fn start_with(rules: &Value, keys: Option<&Signer>) -> Self {
        Self::start_route(rules, keys, &json!({}))
    }

    /// The same, with more members of the route.
    pub(crate) fn start_route(rules: &Value, keys: Option<&Signer>, more: &Value) -> Self {
        let app = App::start();
        let mut route = json!({
            "generation": 1, "hostnames": [], "rules": rules,
            "upstream": {"port": app.port, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 256},
        });
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut snapshot = Snapshot::default();
        let name: NamespacedName = "default/orders".parse().unwrap();
        snapshot.routes.insert(name, Arc::new(serde_json::from_value(route).unwrap()));
        if let Some(keys) = keys {
            let name: NamespacedName = "default/login".parse().unwrap();
            let (set, _) = KeySet::parse(keys.key_set().to_string().as_bytes()).unwrap();
            let service = json!({
                "issuer": "https://login.example.com", "keys": {"known": set}, "introspection": "disabled",
                "exchange": "disabled",
            });
            snapshot.token_services.insert(name.clone(), Arc::new(serde_json::from_value(service).unwrap()));
            snapshot.secrets.insert(SecretName::new(name, "canary").unwrap(), Secret::new(b"c4n4ry".to_vec()));
        }
        let set = ResourceSet::new(&snapshot, &mut Arc::new);
        Self::run(app, &[], Some(set.delta(&std::collections::BTreeMap::default(), 1).upserts))
    }

    /// A proxy whose opaque tokens are looked up at this endpoint.
    pub(crate) fn start_asking(rules: &Value, endpoint: &str, max_ttl: u64) -> Self {
        Self::start_asking_with(rules, endpoint, max_ttl, &json!("never"))
    }

    /// The same, with this use of answers beyond their time.
    pub(crate) fn start_asking_with(rules: &Value, endpoint: &str, max_ttl: u64, stale: &Value) -> Self {
        let app = App::start();
        let route = json!({
            "generation": 1, "hostnames": [], "rules": rules,
            "upstream": {"port": app.port, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 256},
        });
        let name: NamespacedName = "default/login".parse().unwrap();
        let service = json!({
            "issuer": "https://login.example.com", "keys": "unavailable",
            "exchange": "disabled",
            "introspection": {"enabled": {
                "access": {
                    "endpoint": endpoint, "caCertificates": "", "addresses": "PrivateAndPublic", "timeout": 700,
                    "client": {
                        "clientId": "gate way", "secret": "default/login#secret", "method": "ClientSecretBasic",
                    },
                },
                "dialect": "Json",
                "cache": {"maxTtl": max_ttl, "negativeTtl": 300, "maxBytes": 65_536, "stale": stale},
            }},
        });
        let mut snapshot = Snapshot::default();
        let orders: NamespacedName = "default/orders".parse().unwrap();
        snapshot.routes.insert(orders, Arc::new(serde_json::from_value(route).unwrap()));
        snapshot.token_services.insert(name.clone(), Arc::new(serde_json::from_value(service).unwrap()));
        snapshot.secrets.insert(SecretName::new(name, "secret").unwrap(), Secret::new(b"c4n4ry&=".to_vec()));
        let set = ResourceSet::new(&snapshot, &mut Arc::new);
        let upserts = set.delta(&std::collections::BTreeMap::default(), 1).upserts;
        Self::run(app, &[], Some(upserts))
    }

    /// A proxy that runs what is made for the port of its application.
    pub(crate) fn start_snapshot(make: impl FnOnce(u16) -> Snapshot, settings: &[(&str, &str)]) -> Self {
        let app = App::start();
        let set = ResourceSet::new(&make(app.port), &mut Arc::new);
        let upserts = set.delta(&std::collections::BTreeMap::default(), 1).upserts;
        Self::run(app, settings, Some(upserts))
    }

    /// A proxy that has no policy and no operator.
    pub(crate) fn start_empty() -> Self {
        Self::run(App::start(), &[], None)
    }

    /// A proxy in front of another application, with more settings.
    pub(crate) fn start_before(port: u16, protocol: &str, settings: &[(&str, &str)]) -> Self {
        let route = json!({
            "generation": 1, "hostnames": [], "rules": [open_rule("all", "/")],
            "upstream": {"port": port, "protocol": protocol, "forwarded": "ForwardedAndXForwarded", "maxConnections": 256},
        });
        let mut snapshot = Snapshot::default();
        let name: NamespacedName = "default/orders".parse().unwrap();
        snapshot.routes.insert(name, Arc::new(serde_json::from_value(route).unwrap()));
        let set = ResourceSet::new(&snapshot, &mut Arc::new);
        let upserts = set.delta(&std::collections::BTreeMap::default(), 1).upserts;
        Self::run(App::start(), settings, Some(upserts))
    }

    /// The same at addresses of the caller's choice, which `settings` name.
    pub(crate) fn start_at(listen: SocketAddr, admin: SocketAddr, port: u16, settings: &[(&str, &str)]) -> Self {
        let mut fixture = Self::start_before(port, "Http1", &[]);
        drop(fixture.proxy.kill());
        drop(fixture.proxy.wait());
        (fixture.listen, fixture.admin) = (listen, admin);
        fixture.proxy = Self::spawn(&fixture.folder, listen, admin, settings);
        fixture.wait_for_ports();
        fixture
    }

    /// Asks another port of the proxy.
    pub(crate) fn at(address: SocketAddr, path: &str) -> Reply {
        let mut client = Client::connect(address);
        client.write(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.reply()
    }

    /// Port of an application that answers like the others.
    pub(crate) fn app_port(&self) -> u16 {
        self.app.port
    }

    /// Bytes of memory that the proxy holds.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.proxy.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    fn run(app: Arc<App>, settings: &[(&str, &str)], resources: Option<Vec<proto::Resource>>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("portreeve-proxy-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        if let Some(resources) = resources {
            let saved_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let stored = proto::StoredSnapshot { revision: 1, saved_at, resources };
            fs::write(folder.join("snapshot.pb"), stored.encode_to_vec()).unwrap();
        }
        let (listen, admin) = (free_port(), free_port());
        let proxy = Self::spawn(&folder, listen, admin, settings);
        let fixture = Self { proxy, listen, admin, folder, app };
        fixture.wait_for_ports();
        fixture
    }

    fn wait_for_ports(&self) {
        eventually("the proxy listens", || {
            TcpStream::connect(self.admin).is_ok() && TcpStream::connect(self.listen).is_ok()
        });
    }

    fn spawn(folder: &std::path::Path, listen: SocketAddr, admin: SocketAddr, settings: &[(&str, &str)]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_portreeve-proxy"))
            .env_clear()
            .env("PORTREEVE_LISTEN", listen.to_string())
            .env("PORTREEVE_ADMIN", admin.to_string())
            .env("PORTREEVE_OPERATOR", format!("unix:{}", folder.join("nobody.sock").display()))
            .env("PORTREEVE_WORKLOAD", "default/orders")
            .env("PORTREEVE_STATE", folder)
            .env("PORTREEVE_WORKERS", "1")
            .env("PORTREEVE_DRAIN_SECONDS", "3")
            .env("PORTREEVE_RECORDS", folder.join("records.log"))
            .envs(settings.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Says exactly this on a fresh connection and takes the answer apart.
    pub(crate) fn send(&self, request: &str) -> Reply {
        let mut client = self.connect();
        client.write(request);
        client.reply()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.listen)
    }

    pub(crate) fn admin(&self, path: &str) -> Reply {
        Self::at(self.admin, path)
    }

    /// Heads of all requests that reached the application.
    pub(crate) fn app_log(&self) -> Vec<String> {
        self.app.log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for_app(&self, requests: usize) {
        eventually("the application was asked", || self.app_log().len() >= requests);
    }

    pub(crate) fn stop_app(&self) {
        self.app.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.app.port)));
        eventually("the application stopped", || TcpStream::connect(("127.0.0.1", self.app.port)).is_err());
    }

    /// The first decision record with this reason.
    pub(crate) fn record(&self, reason: &str) -> Value {
        self.record_where("reason", reason)
    }

    /// Every line that is whole.
    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("records.log")).unwrap_or_default();
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn record_where(&self, member: &str, value: &str) -> Value {
        let mut found = Value::Null;
        eventually("the record is written", || {
            let mut records = self.records().into_iter();
            found = records.find(|record| record[member] == value).unwrap_or_default();
            !found.is_null()
        });
        found
    }

    /// Lines that say this, once every request so far has left its record.
    pub(crate) fn count_records(&self, member: &str, value: &str) -> usize {
        // A worker hands its records over after 100 ms at the most.
        std::thread::sleep(Duration::from_millis(400));
        self.records().iter().filter(|record| record[member] == value).count()
    }

    pub(crate) fn terminate(&self) {
        Command::new("kill").arg(self.proxy.id().to_string()).status().unwrap();
        eventually("the drain began", || self.admin("/readyz").status == 503);
    }

    pub(crate) fn ended_within(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < time {
            if let Some(status) = self.proxy.try_wait().unwrap() {
                return status.success();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        drop(self.proxy.kill());
        drop(self.proxy.wait());
        drop(fs::remove_dir_all(&self.folder));
        self.app.stopped.store(true, Ordering::SeqCst);
    }
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until this text has come.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "closed before {text:?}: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Whether the other side hangs up by itself.
    pub(crate) fn closes_within(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 1024];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Reads one answer and, for a moment, whatever comes behind it.
    fn reply(&mut self) -> Reply {
        let mut text = self.read_until("\r\n\r\n");
        let length: usize = Reply::parse(&text).header("content-length").parse().unwrap_or(0);
        let end = text.find("\r\n\r\n").unwrap() + 4 + length;
        self.0.set_read_timeout(Some(Duration::from_millis(if text.len() < end { 5000 } else { 60 }))).unwrap();
        let mut buffer = [0; 8192];
        while let Ok(count) = self.0.read(&mut buffer) {
            if count == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            self.0.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
        }
        Reply::parse(&text)
    }
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Self { status, head: head.to_owned(), body: String::new(), rest: String::new() };
        let length = reply.header("content-length").parse().unwrap_or(body.len()).min(body.len());
        let (body, rest) = body.split_at(length);
        (reply.body, reply.rest) = (body.to_owned(), rest.to_owned());
        reply
    }

    /// Every value of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let is = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().filter(is).map(|line| line[name.len() + 1..].trim()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = |line: &'_ str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
        self.head.lines().find(|line| value(line)).map_or("", |line| line[name.len() + 1..].trim())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

impl App {
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Arc::new(Self { port: listener.local_addr().unwrap().port(), ..Self::default() });
        let serving = Arc::clone(&app);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let app = Arc::clone(&serving);
                std::thread::spawn(move || drop(app.serve(stream.unwrap())));
            }
        });
        app
    }

    fn note(&self, head: String) {
        self.log.lock().unwrap().push(head);
    }

    /// Answers request after request, each by its path; it trusts the framing, as many applications do.
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                let mut buffer = [0; 4096];
                let count = stream.read(&mut buffer)?;
                if count == 0 || self.stopped.load(Ordering::SeqCst) {
                    return Ok(());
                }
                bytes.extend_from_slice(&buffer[..count]);
                continue;
            };
            let head = String::from_utf8_lossy(&bytes[..end + 4]).into_owned();
            bytes.drain(..end + 4);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            self.note(head);
            match path.as_str() {
                "/slow" => {
                    std::thread::park_timeout(Duration::from_secs(2));
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
                }
                "/later" => {
                    std::thread::park_timeout(Duration::from_millis(500));
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
                }
                "/r/cors" => stream.write_all(
                    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://app.example.com\r\nVary: Origin\r\n\
                      Set-Cookie: a=1\r\nX-Secret: 1\r\nLocation: /x\r\nContent-Type: text/plain\r\n\
                      Content-Length: 6\r\n\r\nsecret",
                )?,
                "/garbage" => return stream.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n"),
                "/hangup" => return Ok(()),
                "/live/ws" => {
                    stream.write_all(
                        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                    )?;
                    return std::io::copy(&mut stream.try_clone()?, &mut stream).map(drop);
                }
                "/echo" => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                    stream.write_all(&bytes)?;
                    return std::io::copy(&mut stream.try_clone()?, &mut stream).map(drop);
                }
                _ => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?,
            }
        }
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
