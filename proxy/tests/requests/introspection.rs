//! Opaque tokens and a token service that misbehaves in every way that the outage table names.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, Signer, jwt_access, jwt_rule, open_rule};

/// An endpoint that answers as it is told to, and remembers what it was asked.
struct Endpoint {
    port: u16,
    mode: Arc<Mutex<&'static str>>,
    asked: Arc<Mutex<Vec<String>>>,
}

const ACTIVE: &str = r#"{"active":true,"aud":"orders","scope":"orders:read","client_id":"shop","sub":"alice"}"#;

impl Endpoint {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Self {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::new(Mutex::new("active")),
            asked: Arc::default(),
        };
        let (mode, asked) = (Arc::clone(&endpoint.mode), Arc::clone(&endpoint.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mode, asked) = (Arc::clone(&mode), Arc::clone(&asked));
                std::thread::spawn(move || drop(serve(stream.unwrap(), &mode, &asked)));
            }
        });
        endpoint
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/introspect", self.port)
    }

    fn set(&self, mode: &'static str) {
        *self.mode.lock().unwrap() = mode;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request on one connection, answered by mode.
fn serve(
    mut stream: std::net::TcpStream,
    mode: &Mutex<&'static str>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") || !text.contains("token=") {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    note(asked, text);
    let now = current(mode);
    let (status, kind, body) = match now {
        "inactive" => ("200 OK", "application/json", r#"{"active":false}"#.to_owned()),
        "refresh" => ("200 OK", "application/json", ACTIVE.replace('}', r#","token_use":"refresh_token"}"#)),
        "id" => ("200 OK", "application/json", ACTIVE.replace('}', r#","typ":"ID"}"#)),
        "error" => ("500 Oops", "application/json", r#"{"active":true}"#.to_owned()),
        "credentials" => ("401 No", "application/json", r#"{"error":"invalid_client"}"#.to_owned()),
        "html" => ("200 OK", "text/html", "<html>active: true</html>".to_owned()),
        "huge" => ("200 OK", "application/json", format!("{}{ACTIVE}", " ".repeat(1_000_000))),
        "truncated" => ("200 OK", "application/json", r#"{"active":tr"#.to_owned()),
        "redirect" => ("302 Found", "application/json", ACTIVE.to_owned()),
        _ => ("200 OK", "application/json", ACTIVE.to_owned()),
    };
    match now {
        "hang" => std::thread::park_timeout(Duration::from_secs(3)),
        "slow" => std::thread::park_timeout(Duration::from_millis(150)),
        _ => {}
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n{body}"
    )
}

fn note(asked: &Mutex<Vec<String>>, text: String) {
    asked.lock().unwrap().push(text);
}

fn current(mode: &Mutex<&'static str>) -> &'static str {
    *mode.lock().unwrap()
}

/// An endpoint's answers may be used beyond their time, but only while it is away.
#[test]
fn stale_answers_are_used_in_an_outage_only_and_the_record_says_so_i9() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking_with(&rules(), &endpoint.url(), 200, &json!({"for": 1500}));
    assert_eq!(ask(&fixture, "/read", "t").status, 200);
    std::thread::park_timeout(Duration::from_millis(300));
    endpoint.set("error");
    assert_eq!(ask(&fixture, "/read", "t").status, 200, "beyond its time, in an outage");
    assert_eq!(fixture.record_where("token_cache", "stale")["subject"], "alice");
    assert_eq!(ask(&fixture, "/read", "never-seen").status, 503);
    for wrong in ["credentials", "html", "truncated"] {
        endpoint.set(wrong);
        assert_eq!(ask(&fixture, "/read", "t").status, 503, "{wrong} is no outage");
    }
    endpoint.set("inactive");
    assert_eq!(ask(&fixture, "/read", "t").status, 401);
    endpoint.set("error");
    std::thread::park_timeout(Duration::from_millis(400));
    assert_eq!(ask(&fixture, "/read", "t").status, 503, "known to be inactive: nothing stale is left");
    endpoint.set("active");
    assert_eq!(ask(&fixture, "/read", "u").status, 200);
    endpoint.set("error");
    std::thread::park_timeout(Duration::from_millis(1900));
    assert_eq!(ask(&fixture, "/read", "u").status, 503, "the window has an end");
}

/// A refresh or ID token is active too, and no fault of the token service.
#[test]
fn j16_an_active_token_of_another_kind_is_refused_as_invalid() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    for (mode, token) in [("refresh", "r"), ("id", "i")] {
        endpoint.set(mode);
        for _ in 0..2 {
            let reply = ask(&fixture, "/read", token);
            assert_eq!((reply.status, reply.json()["reason"].clone()), (401, json!("invalid_token")), "{mode}");
        }
    }
    assert_eq!(endpoint.asked().len(), 2, "and it is remembered");
    assert!(fixture.record("invalid_token")["detail"].as_str().unwrap().contains("no access token"));
    assert_eq!(fixture.app_log(), Vec::<String>::new());
}

/// The rule's ceiling holds for what the token service says of a token, and an answer without times has no end.
#[test]
fn an_answer_of_a_token_that_lives_too_long_is_refused() {
    let endpoint = Endpoint::start();
    let mut rules = rules();
    let rule = "/0/state/ready/authentication/anyOf/0/allOf/0/introspection";
    rules.pointer_mut(rule).unwrap()["maxTokenAge"] = json!({"atMost": 1_800_000});
    let fixture = Fixture::start_asking(&rules, &endpoint.url(), 60_000);
    endpoint.set("active");
    let reply = ask(&fixture, "/read", "t");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (401, json!("token_too_long_lived")));
    assert_eq!(fixture.app_log(), Vec::<String>::new());
}

fn rules() -> Value {
    let guarded = |name: &str, prefix: &str, scope: &str| {
        let rule = json!({
            "tokenService": "default/login", "audiences": ["orders"], "upstreamToken": "none",
            "proof": {"required": [], "dpopNonce": false},
        });
        let mut open = open_rule(name, prefix);
        open["state"] = json!({"ready": {"limits": "none",
            "authentication": {"anyOf": [{"allOf": [{"introspection": rule}]}]},
            "authorization": {"allOf": [{"scopes": {"allOf": [scope], "anyOf": []}}]},
        }});
        open
    };
    json!([guarded("read", "/read", "orders:read"), guarded("write", "/write", "orders:write")])
}

fn ask(fixture: &Fixture, path: &str, token: &str) -> Reply {
    fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
}

#[test]
fn an_outage_closes_says_why_and_leaves_nothing_behind_i7_i8() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    for (number, mode) in
        ["error", "credentials", "html", "huge", "truncated", "redirect", "hang"].into_iter().enumerate()
    {
        endpoint.set(mode);
        let token = format!("token-{number}");
        let began = Instant::now();
        let reply = ask(&fixture, "/read", &token);
        assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("token_service_unavailable")), "{mode}");
        assert!(began.elapsed() < Duration::from_secs(2), "{mode} took {:?}", began.elapsed());
        assert!(!reply.body.contains("invalid_client"), "the server's words stay inside");
        // Nothing of the fault is remembered.
        endpoint.set("active");
        assert_eq!(ask(&fixture, "/read", &token).status, 200, "after {mode}");
    }
    // What is remembered is served through the outage; what is not is refused.
    endpoint.set("error");
    assert_eq!((ask(&fixture, "/read", "token-0").status, ask(&fixture, "/read", "another").status), (200, 503));
}

#[test]
fn facts_are_shared_between_rules_and_verdicts_are_not_i1() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    assert_eq!((ask(&fixture, "/read", "t").status, ask(&fixture, "/write", "t").status), (200, 403));
    assert_eq!(endpoint.asked().len(), 1);
    let record = fixture.record("insufficient_scope");
    assert_eq!((record["token_cache"].as_str(), record["subject"].as_str()), (Some("hit"), Some("alice")));
}

#[test]
fn the_question_is_encoded_and_authenticated() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    assert_eq!(ask(&fixture, "/read", "a+b/c==").status, 200);
    let asked = endpoint.asked().pop().unwrap().to_ascii_lowercase();
    // "gate+way:c4n4ry%26%3D" in base64: both parts are form-encoded first (RFC 6749 section 2.3.1).
    assert!(asked.contains("authorization: basic z2f0zst3yxk6yzrunhj5jti2jtne\r\n"), "{asked}");
    assert!(asked.contains("token=a%2bb%2fc%3d%3d&token_type_hint=access_token"), "{asked}");
    let seen = fixture.app_log().pop().unwrap().to_ascii_lowercase();
    assert!(!seen.contains("authorization"), "{seen}");
}

#[test]
fn b7_a_revocation_takes_effect_within_the_bound_and_inactive_is_remembered_shortly() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 400);
    assert_eq!(ask(&fixture, "/read", "t").status, 200);
    endpoint.set("inactive");
    let revoked = Instant::now();
    while ask(&fixture, "/read", "t").status == 200 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "still served after {:?}", revoked.elapsed());
    }
    let asked = endpoint.asked().len();
    assert_eq!(
        (ask(&fixture, "/read", "t").status, endpoint.asked().len()),
        (401, asked),
        "an inactive answer is remembered"
    );
    endpoint.set("active");
    std::thread::park_timeout(Duration::from_millis(400));
    assert_eq!(ask(&fixture, "/read", "t").status, 200, "but shortly");
}

#[test]
fn sixty_four_callers_of_a_new_token_make_one_question() {
    let endpoint = Endpoint::start();
    endpoint.set("slow");
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..64).map(|_| scope.spawn(|| ask(&fixture, "/read", "new").status)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!((statuses, endpoint.asked().len()), (vec![200; 64], 1));
}

/// An endpoint that answers about `good` at once and about every other token never.
fn silent_endpoint() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    let (held, counted) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let most: Arc<AtomicUsize> = Arc::clone(&counted);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, held, most) = (stream.unwrap(), Arc::clone(&held), Arc::clone(&most));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let mut text = String::new();
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    text.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    if text.contains("token=good") {
                        let line = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
                        drop(stream.write_all(format!("{line}: {}\r\n\r\n{ACTIVE}", ACTIVE.len()).as_bytes()));
                        text.clear();
                    } else if text.contains("token=") {
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        drop(stream.read(&mut buffer));
                        held.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                }
            });
        }
    });
    (url, counted)
}

#[test]
fn h4_hundreds_of_unknown_tokens_make_sixty_four_questions_at_once_and_hold_up_no_known_one() {
    let (url, most) = silent_endpoint();
    let fixture = Fixture::start_asking(&rules(), &url, 60_000);
    assert_eq!(ask(&fixture, "/read", "good").status, 200);
    let mut flood: Vec<_> = (0..400).map(|_| fixture.connect()).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        client.write(&format!("GET /read HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t{number}\r\n\r\n"));
    }
    let start = Instant::now();
    while most.load(Ordering::SeqCst) < 64 {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", most.load(Ordering::SeqCst));
        assert_eq!(ask(&fixture, "/read", "good").status, 200, "what is known needs no question");
    }
    // One address has half of what may run and wait; the rest is refused at once, those that wait when their time is over.
    for client in &mut flood {
        assert!(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 503 "));
    }
    assert_eq!(most.load(Ordering::SeqCst), 64);
    let refused = fixture.record("token_service_unavailable");
    assert_eq!(refused["status"], 503);
    assert_eq!(ask(&fixture, "/read", "good").status, 200);
}

/// Each unknown token is a question, whatever is wrong with it; one that is known goes on.
#[test]
fn h4_tokens_that_are_wrong_in_any_way_cost_their_address_its_share() {
    for mode in ["inactive", "refresh"] {
        let endpoint = Endpoint::start();
        let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
        assert_eq!(ask(&fixture, "/read", "good").status, 200);
        endpoint.set(mode);
        let braked: usize = std::thread::scope(|scope| {
            let ask_many = |thread: usize| {
                let (fixture, mut tokens) = (&fixture, (0..125).map(move |number| format!("t{thread}-{number}")));
                move || tokens.by_ref().filter(|token| ask(fixture, "/read", token).status == 429).count()
            };
            let callers: Vec<_> = (0..16).map(|thread| scope.spawn(ask_many(thread))).collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        let asked = endpoint.asked().len();
        assert!(braked > 0 && asked >= 500 && asked + braked <= 2_001, "{mode}: {braked} of 2,000, {asked} asked");
        assert_eq!(ask(&fixture, "/read", "good").status, 200, "what is known needs no question");
    }
}

#[test]
fn h5_d_the_rules_time_is_over_authentication_too() {
    let (url, _) = silent_endpoint();
    let mut rules = rules();
    rules[0]["timeout"] = json!(200);
    let fixture = Fixture::start_asking(&rules, &url, 60_000);
    let reply = ask(&fixture, "/read", "unknown");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("decision_timeout")));
    assert_eq!(fixture.record("decision_timeout")["outcome"], "deny");
}

#[test]
fn a_structured_token_of_a_stranger_is_never_shown_to_the_token_service() {
    let endpoint = Endpoint::start();
    let fixture = Fixture::start_asking(&rules(), &endpoint.url(), 60_000);
    assert_eq!(ask(&fixture, "/read", &Signer::new().token_of("https://other.example.com")).status, 401);
    assert_eq!(endpoint.asked(), Vec::<String>::new());
}

/// Whole families of servers write `scope` as a list.
#[test]
fn fault_05_a_token_whose_scope_is_a_list_has_these_scopes() {
    let keys = Signer::new();
    let mut read = open_rule("read", "/read");
    read["state"] = jwt_access("orders:read");
    let mut any = open_rule("any", "/any");
    any["state"] = json!({"ready": {"limits": "none",
        "authentication": {"anyOf": [{"allOf": [{"jwt": jwt_rule()}]}]}, "authorization": "anyone",
    }});
    let fixture = Fixture::start_with(&json!([read, any]), Some(&keys));
    let ask = |path: &str, scope: &Value| {
        let token = keys.token_with(&json!({"sub": "ada", "scope": scope}));
        fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")).status
    };
    for (scope, read, any) in [
        (json!("orders:read x"), 200, 200),
        (json!(["x", "orders:read"]), 200, 200),
        (json!(["x"]), 403, 200),
        (json!(["x orders:read"]), 403, 200),
        (json!({"orders:read": true}), 403, 200),
        (json!(7), 403, 200),
    ] {
        assert_eq!((ask("/read", &scope), ask("/any", &scope)), (read, any), "{scope}");
    }
}
