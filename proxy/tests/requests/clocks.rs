//! Every state of a connection has a clock.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_policy::{NamespacedName, Snapshot};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;

use crate::{
    fixture::{Fixture, open_rule},
    frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS},
};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client may say before its first request is complete, and then be silent.
const UNFINISHED: [&[u8]; 7] = [
    b"PRI * HTT",
    b"PRI * HTTP/2.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n",
    PREFACE.as_bytes(),
    // An empty SETTINGS frame; then the first half of a HEADERS frame; then HEADERS without their end.
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x01\x05\0\0\0\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x01\0\0\0\x01\x82",
];

/// Whether the other side hangs up, however much it says before.
fn ends(stream: &mut impl Read, within: Duration) -> bool {
    let (start, mut buffer) = (Instant::now(), [0; 4096]);
    while start.elapsed() < within {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return true,
        }
    }
    false
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    stream
}

fn tls(
    address: SocketAddr,
    certificate: &CertificateDer<'_>,
    protocol: &[u8],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let session = ClientConnection::new(Arc::new(config), "orders.example.com".try_into().unwrap()).unwrap();
    StreamOwned::new(session, connect(address))
}

const HEAD: (&str, &str) = ("PORTREEVE_HEAD_SECONDS", "1");

/// A proxy that speaks TLS, and its certificate.
fn sealed(back: &Fixture, name: &str) -> (Fixture, CertificateDer<'static>) {
    let folder = std::env::temp_dir().join(format!("portreeve-{name}-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (cert_file, key_file) = (folder.join("tls.crt"), folder.join("tls.key"));
    let made = rcgen::generate_simple_self_signed(["orders.example.com".to_owned()]).unwrap();
    fs::write(&cert_file, made.cert.pem()).unwrap();
    fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let settings =
        [("PORTREEVE_TLS_CERT", cert_file.to_str().unwrap()), ("PORTREEVE_TLS_KEY", key_file.to_str().unwrap()), HEAD];
    let sealed = Fixture::start_before(back.app_port(), "Http1", &settings);
    // Read at the start.
    drop(fs::remove_dir_all(&folder));
    (sealed, CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap())
}

#[test]
fn p16_what_alpn_agreed_on_is_spoken_and_nothing_else() {
    let back = Fixture::start_empty();
    let (fixture, certificate) = sealed(&back, "alpn");
    let get = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (protocol, said, answered) in [
        (b"http/1.1".as_slice(), get.as_slice(), true),
        (b"h2", get, false),
        (b"http/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", false),
    ] {
        let mut stream = tls(fixture.listen(), &certificate, protocol);
        while let Err(error) = stream.write_all(said).and_then(|()| stream.flush()) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
        let (start, mut seen, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
        while start.elapsed() < Duration::from_secs(3) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => seen.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        let text = String::from_utf8_lossy(&seen);
        assert_eq!(text.contains("200 OK"), answered, "{}: {text}", String::from_utf8_lossy(protocol));
        // SETTINGS would mean that HTTP/2 is spoken.
        assert!(!(protocol == b"http/1.1" && seen.get(3) == Some(&4)), "{seen:?}");
    }
    assert_eq!(back.app_log().len(), 1);
}

#[test]
fn p1_a_connection_without_a_whole_request_is_closed_in_clear_and_in_tls() {
    let back = Fixture::start_empty();
    let clear = Fixture::start_before(back.app_port(), "Http1", &[HEAD]);
    let (sealed, certificate) = sealed(&back, "clocks");
    let mut waiting = Vec::new();
    for said in UNFINISHED {
        let (mut plain, mut secret) = (connect(clear.listen()), tls(sealed.listen(), &certificate, b"h2"));
        plain.write_all(said).unwrap();
        while let Err(error) = secret.write_all(said).and_then(|()| secret.flush()) {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        }
        waiting.push((said, plain, secret));
    }
    for (said, plain, secret) in &mut waiting {
        let said = String::from_utf8_lossy(said);
        assert!(ends(plain, Duration::from_secs(4)), "still open in clear after {said:?}");
        assert!(ends(secret, Duration::from_secs(4)), "still open in TLS after {said:?}");
    }
}

#[test]
fn p1_any_time_for_heads_is_a_time() {
    let back = Fixture::start_empty();
    let fixture =
        Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_HEAD_SECONDS", "18446744073709551615")]);
    assert_eq!(fixture.get("/x").status, 200);
    let mut frames = Frames::open(fixture.listen());
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &Frames::block(&GET));
    let answered = frames.read_until(b"hello");
    assert!(answered.windows(5).any(|five| five == b"hello"), "{}", String::from_utf8_lossy(&answered));
}

#[test]
fn p1_pings_do_not_keep_an_idle_http2_connection() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_HEAD_SECONDS", "1")]);
    let mut frames = Frames::open(fixture.listen());
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &Frames::block(&GET));
    let answered = frames.read_until(b"hello");
    assert!(answered.windows(5).any(|five| five == b"hello"), "{}", String::from_utf8_lossy(&answered));
    let start = Instant::now();
    let mut gone = false;
    while !gone && start.elapsed() < Duration::from_secs(8) {
        frames.send(6, 0, 0, &[7; 8]);
        gone = ends(&mut frames.0, Duration::from_millis(250));
    }
    assert!(gone && start.elapsed() > Duration::from_secs(2), "gone: {gone} after {:?}", start.elapsed());
}

/// An application whose answer below `/large` has no end in sight.
fn large_app() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || drop(serve_large(stream.unwrap())));
        }
    });
    port
}

fn serve_large(mut stream: TcpStream) -> std::io::Result<()> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte)?;
        text.extend_from_slice(&byte);
        if !text.ends_with(b"\r\n\r\n") {
            continue;
        }
        if text.starts_with(b"GET /large") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
            for _ in 0..100_000 {
                stream.write_all(&[b'x'; 10_000])?;
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        text.clear();
    }
}

/// A proxy before it with two connections to it and a second for each exchange.
fn large_bed() -> Fixture {
    let port = large_app();
    let mut rule = open_rule("all", "/");
    rule["timeout"] = json!(1000);
    let route = json!({
        "generation": 1, "hostnames": [], "rules": [rule],
        "upstream": {"port": port, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 2},
    });
    let mut snapshot = Snapshot::default();
    let name: NamespacedName = "default/orders".parse().unwrap();
    snapshot.routes.insert(name, Arc::new(serde_json::from_value(route).unwrap()));
    Fixture::start_snapshot(|_| snapshot, &[])
}

/// Full while the clients hold it, and free again when the rule's time is over.
fn assert_freed_by_the_deadline(fixture: &Fixture) {
    std::thread::park_timeout(Duration::from_millis(400));
    assert_eq!(fixture.get("/x").status, 503, "both connections are in use");
    std::thread::park_timeout(Duration::from_millis(1100));
    for _ in 0..3 {
        assert_eq!(fixture.get("/x").status, 200, "the deadline has passed");
    }
}

const LARGE: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/large")];

#[test]
fn h2_the_rules_time_ends_answers_that_an_http2_client_does_not_read() {
    let fixture = large_bed();
    let mut frames = Frames::open(fixture.listen());
    // SETTINGS_INITIAL_WINDOW_SIZE is 0: no byte of an answer may be sent.
    frames.send(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    for stream in [1, 3] {
        frames.send(HEADERS, END_STREAM | END_HEADERS, stream, &Frames::block(&LARGE));
    }
    assert_freed_by_the_deadline(&fixture);
    let seen = frames.read();
    for stream in [1_u8, 3] {
        let reset = [0, 0, 4, 3, 0, 0, 0, 0, stream];
        assert!(seen.windows(9).any(|nine| nine == reset), "stream {stream} was not reset: {seen:?}");
    }
    // The connection itself goes on.
    frames.send(4, 0, 0, &[0, 4, 0, 0, 255, 255]);
    frames.send(HEADERS, END_STREAM | END_HEADERS, 5, &Frames::block(&GET));
    let seen = frames.read_until(b"hello");
    assert!(seen.windows(5).any(|five| five == b"hello"), "{seen:?}");
}

#[test]
fn h2_the_rules_time_ends_answers_that_an_http1_client_does_not_read() {
    let fixture = large_bed();
    let mut clients: Vec<_> = (0..2).map(|_| connect(fixture.listen())).collect();
    for client in &mut clients {
        client.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    assert_freed_by_the_deadline(&fixture);
    for client in &mut clients {
        assert!(ends(client, Duration::from_secs(5)), "still open");
    }
}

/// Refusals need no credentials: they do not keep a connection either.
#[test]
fn h2_refusals_that_nobody_reads_end() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_HEAD_SECONDS", "1")]);
    let mut client = connect(fixture.listen());
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let many = "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let start = Instant::now();
    let mut gone = false;
    while !gone && start.elapsed() < Duration::from_secs(20) {
        gone = client
            .write_all(many.as_bytes())
            .is_err_and(|error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    }
    assert!(gone, "still open after {:?}", start.elapsed());
}
