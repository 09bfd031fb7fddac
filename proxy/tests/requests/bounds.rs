//! What the process holds is bounded, whoever asks for more.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_policy::Snapshot;
use serde_json::{Value, json};

use crate::fixture::{Fixture, open_rule};

const BIG: usize = 16 << 20;

/// A proxy whose rule has time, before an application that answers at `/big` with many bytes, at `/hold` never, and
/// elsewhere at once.
fn fixture(more: &Value, settings: &[(&str, &str)]) -> Fixture {
    let mut rule = open_rule("all", "/");
    rule["timeout"] = json!(60_000);
    let mut route = json!({
        "generation": 1, "hostnames": [], "rules": [rule],
        "upstream": {"port": application(), "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 256},
    });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut snapshot = Snapshot::default();
    snapshot.routes.insert("default/orders".parse().unwrap(), Arc::new(serde_json::from_value(route).unwrap()));
    Fixture::start_snapshot(|_| snapshot, settings)
}

fn application() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        listener.incoming().for_each(|stream| drop(std::thread::spawn(|| answer(stream.unwrap()))));
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
        if buffer.starts_with(b"GET /hold ") {
            // Until the proxy goes.
            drop(stream.read(&mut buffer));
            return;
        }
        let bytes = if buffer.starts_with(b"GET /big ") { BIG } else { 5 };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b'x'; bytes])).is_err() {
            return;
        }
    }
}

fn connect(fixture: &Fixture) -> TcpStream {
    let stream = TcpStream::connect(fixture.listen()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// The whole answer, ours or the application's; nothing when the connection ends.
fn get(stream: &mut TcpStream) -> String {
    drop(stream.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
    let (mut text, mut buffer) = (String::new(), [0; 2048]);
    while !text.ends_with("xxxxx") && !text.ends_with('}') {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
            Ok(0) | Err(_) => break,
        }
    }
    text
}

/// Clients that ask for much and read nothing.
fn who_do_not_read(fixture: &Fixture, count: usize) -> Vec<TcpStream> {
    let ask = || {
        let mut stream = connect(fixture);
        stream.write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    };
    std::iter::repeat_with(ask).take(count).collect()
}

#[test]
fn h3_near_its_limit_of_memory_the_proxy_refuses_in_words_and_recovers() {
    let base = fixture(&json!({}), &[]).resident();
    let limit = (base + (20 << 20)).to_string();
    let fixture = fixture(&json!({}), &[("PORTREEVE_MEMORY_LIMIT", limit.as_str())]);
    let (mut known, mut silent) = (connect(&fixture), connect(&fixture));
    assert!(get(&mut known).starts_with("HTTP/1.1 200 "));
    let hostile = who_do_not_read(&fixture, 185);
    let start = Instant::now();
    while !fixture.admin("/metrics").body.contains("portreeve_proxy_shedding 1") {
        assert!(start.elapsed() < Duration::from_secs(20), "{} held of {limit}", fixture.resident());
    }
    // One that asked nothing yet has given way, a new one is not taken, and who was there before is told.
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(get(&mut connect(&fixture)), "");
    let told = get(&mut known);
    assert!(told.starts_with("HTTP/1.1 503 ") && told.contains("\"overloaded\""), "{told}");
    assert!(told.contains("retry-after: 1"), "{told}");
    assert_eq!(fixture.record("overloaded")["outcome"], "deny");
    assert_eq!(fixture.admin("/livez").status, 200);
    drop(hostile);
    let start = Instant::now();
    while !get(&mut connect(&fixture)).starts_with("HTTP/1.1 200 ") {
        assert!(start.elapsed() < Duration::from_secs(40), "no recovery: {} held of {limit}", fixture.resident());
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn m5_the_admin_port_answers_beside_connections_that_say_nothing() {
    let fixture = fixture(&json!({}), &[]);
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(fixture.admin_address()).unwrap()).collect();
    assert_eq!(fixture.admin("/livez").status, 200);
    assert_eq!(fixture.admin("/readyz").status, 200);
    drop(silent);
}

#[test]
fn p3_an_answer_that_nobody_reads_holds_a_bounded_piece() {
    const READERS: usize = 100;
    let fixture = fixture(&json!({}), &[]);
    let before = fixture.resident();
    let mut readers = who_do_not_read(&fixture, READERS);
    // What can be buffered is.
    std::thread::park_timeout(Duration::from_secs(2));
    let each = fixture.resident().saturating_sub(before) / u64::try_from(READERS).unwrap();
    assert!(each < 256 * 1024, "{each} bytes for each");
    // Who reads gets all of it.
    let (mut seen, mut buffer) = (0, vec![0; 64 * 1024]);
    while seen < BIG {
        let count = readers[0].read(&mut buffer).unwrap();
        assert!(count > 0, "ended after {seen} bytes");
        seen += count;
    }
}

#[test]
fn h2_one_client_leaves_connections_to_the_others() {
    let trusted = json!({"forwarded": {
        "trustedProxies": ["127.0.0.0/8"], "header": "XForwardedFor", "additionalHeaders": [],
    }});
    let fixture = fixture(&json!({"clientAddress": trusted}), &[]);
    let ask = |client: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n");
    let mut held: Vec<_> = (0..192).map(|_| fixture.connect()).collect();
    for client in &mut held {
        client.write(&ask("192.0.2.1", "/hold"));
    }
    let start = Instant::now();
    while fixture.send(&ask("192.0.2.1", "/x")).status != 503 {
        assert!(start.elapsed() < Duration::from_secs(20), "three quarters of 256 are held");
    }
    assert_eq!(fixture.record("upstream_overloaded")["client_address"], "192.0.2.1");
    assert_eq!(fixture.send(&ask("192.0.2.2", "/x")).status, 200, "another client has its share");
}
