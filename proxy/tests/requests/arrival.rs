//! A refusal does not depend on how bytes arrive, and is answered and recorded like every other one.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    fixture::{Fixture, Reply, Signer, jwt_access, open_rule},
    frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS},
};

/// A bed whose rule `/open` asks nobody and whose rule `/closed` wants a token.
fn fixture() -> Fixture {
    let closed = json!({
        "name": "closed", "matches": [{"path": {"prefix": "/closed"}, "methods": [], "headers": []}], "timeout": 5000,
        "upgrades": [], "policies": [], "state": jwt_access("orders:read"),
    });
    Fixture::start_with(&json!([open_rule("open", "/open"), closed]), Some(&Signer::new()))
}

fn connect(fixture: &Fixture) -> TcpStream {
    let stream = TcpStream::connect(fixture.listen()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    stream
}

/// Everything until the other side ends, and whether it ended in an orderly way.
fn read_all(stream: &mut TcpStream) -> (String, bool) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 8192]);
    let whole = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(_) => break false,
        }
    };
    (String::from_utf8_lossy(&seen).into_owned(), whole)
}

/// Answers, one after the other, as far as they are whole.
fn replies(text: &str) -> Vec<Reply> {
    let mut found = Vec::new();
    let mut rest = text.to_owned();
    while rest.contains("\r\n\r\n") {
        let reply = Reply::parse(&rest);
        rest.clone_from(&reply.rest);
        found.push(reply);
    }
    found
}

fn is_told(fixture: &Fixture, reply: &Reply, what: &str) {
    assert_eq!(reply.header("content-type"), "application/problem+json", "{what}: {reply:?}");
    let id = reply.header("portreeve-decision-id");
    assert_eq!(reply.json()["decision_id"], json!(id), "{what}");
    let record = fixture.record_where("decision_id", id);
    assert_eq!(record["status"], Value::from(reply.status), "{what}");
}

#[test]
fn f2_a_refused_upload_is_answered_and_loses_nothing_whatever_its_size() {
    let fixture = fixture();
    for (size, chunked, keeps) in [
        (10, false, true),
        (64 * 1024, false, true),
        (64 * 1024 + 1, false, false),
        (4 << 20, false, false),
        (10, true, false),
        (4 << 20, true, false),
    ] {
        let what = format!("{size} bytes, chunked: {chunked}");
        let mut stream = connect(&fixture);
        let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
        stream.write_all(format!("POST /closed HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
        // The refusal comes while the body is still to come, as behind a slow link.
        std::thread::park_timeout(Duration::from_millis(100));
        if chunked {
            stream.write_all(format!("{size:x}\r\n").as_bytes()).unwrap();
        }
        // A client that writes everything before it reads must not be broken off.
        stream.write_all(&vec![b'x'; size]).unwrap_or_else(|error| panic!("{what}: {error}"));
        if chunked {
            stream.write_all(b"\r\n0\r\n\r\n").unwrap();
        }
        if keeps {
            stream.write_all(b"GET /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        }
        let (text, whole) = read_all(&mut stream);
        let replies = replies(&text);
        assert!(whole, "{what}: reset after {text}");
        let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        assert_eq!(statuses, if keeps { vec![401, 200] } else { vec![401] }, "{what}");
        assert_eq!(replies[0].header("connection"), if keeps { "" } else { "close" }, "{what}");
        is_told(&fixture, &replies[0], &what);
    }
}

#[test]
fn f2_who_waits_for_a_word_gets_the_refusal_in_place_of_it() {
    let fixture = fixture();
    let mut stream = connect(&fixture);
    stream.write_all(b"POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let (text, whole) = read_all(&mut stream);
    assert!(whole && text.starts_with("HTTP/1.1 401 ") && !text.contains("100 Continue"), "{text}");
}

#[test]
fn f2_a_client_that_goes_on_sending_is_left_after_a_while() {
    let fixture = fixture();
    let mut stream = connect(&fixture);
    stream.write_all(b"POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000\r\n\r\n").unwrap();
    let (start, mut sent) = (Instant::now(), 0);
    let block = vec![b'x'; 64 * 1024];
    while stream.write_all(&block).is_ok() {
        sent += block.len();
        assert!(start.elapsed() < Duration::from_secs(20) && sent < 1 << 30, "still taken after {sent} bytes");
    }
}

#[test]
fn p8_what_came_before_a_broken_chunk_is_answered_in_one_packet_and_in_many() {
    let fixture = fixture();
    let (first, head) = (
        "GET /open/1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /open/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for broken in ["zz\r\n", "5\r\nhello!\r\n0\r\n\r\n", "5\r\nhello\r\nzz\r\n", "0\r\nhost: x\r\n\r\n", "5\n"] {
        let all = format!("{first}{head}{broken}");
        for piece in [all.len(), 1] {
            let mut stream = connect(&fixture);
            for bytes in all.as_bytes().chunks(piece) {
                // The refusal may come before the last byte.
                drop(stream.write_all(bytes));
            }
            let (text, _) = read_all(&mut stream);
            let replies = replies(&text);
            let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
            assert_eq!(statuses, [200, 400], "{broken:?} in pieces of {piece}: {text}");
            assert_eq!(replies[1].json()["reason"], "ambiguous_framing", "{broken:?}");
            is_told(&fixture, &replies[1], broken);
        }
    }
}

#[test]
fn p9_whatever_byte_stands_in_a_target_the_refusal_is_told_and_recorded() {
    let fixture = fixture();
    let mut refused = 0;
    for byte in (0x21..=0xff_u8).filter(|byte| *byte != b'#') {
        for target in [[b"/open/".as_slice(), &[byte]].concat(), [b"/open?".as_slice(), &[byte]].concat(), vec![byte]] {
            let mut stream = connect(&fixture);
            let tail = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            stream.write_all(&[b"GET ".as_slice(), &target, tail].concat()).unwrap();
            let (text, _) = read_all(&mut stream);
            let reply = Reply::parse(&text);
            let what = String::from_utf8_lossy(&target).into_owned();
            if reply.status != 200 {
                refused += 1;
                is_told(&fixture, &reply, &what);
            }
        }
    }
    assert!(refused > 400, "{refused}");
}

#[test]
fn p9_fault_12_what_the_parser_refuses_is_told_and_recorded() {
    let fixture = fixture();
    let fields = |count: usize| "X: 1\r\n".repeat(count);
    for (head, status) in [
        (format!("GET /open HTTP/1.1\r\nHost: a\r\n{}", fields(100)), 431),
        (format!("GET /open HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "x".repeat(64 * 1024)), 431),
        (format!("GET /open/{} HTTP/1.1\r\nHost: a\r\n", "x".repeat(64 * 1024)), 414),
        ("GET /open?q={\"a\":1} HTTP/1.1\r\nHost: a\r\n".to_owned(), 400),
        ("GET http:/x HTTP/1.1\r\nHost: a\r\n".to_owned(), 400),
        ("G@T /open HTTP/1.1\r\nHost: a\r\n".to_owned(), 400),
        ("GET /open HTTP/1.2\r\nHost: a\r\n".to_owned(), 400),
        ("GET /open HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n".to_owned(), 400),
    ] {
        let what = head.get(..40.min(head.len())).unwrap().to_owned();
        let mut stream = connect(&fixture);
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let (text, whole) = read_all(&mut stream);
        assert!(whole, "{what}: reset after {text}");
        let reply = Reply::parse(&text);
        assert_eq!(reply.status, status, "{what}");
        is_told(&fixture, &reply, &what);
    }
    assert_eq!(fixture.send(&format!("GET /open HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99))).status, 200);
}

#[test]
fn p9_a_head_that_is_too_large_is_told_and_recorded_in_http2_too() {
    let fixture = fixture();
    let value = vec![b'x'; 120];
    // Few enough fields, so that their number is no reason.
    for (cookies, others, wanted) in [(100, 20, "hello"), (170, 90, "head_too_large")] {
        let names: Vec<_> = (0..others).map(|number| format!("x-{number:0>110}").into_bytes()).collect();
        let mut block: Vec<(&[u8], &[u8])> =
            vec![(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/open")];
        block.extend((0..cookies).map(|_| (b"cookie".as_slice(), value.as_slice())));
        block.extend(names.iter().map(|name| (name.as_slice(), value.as_slice())));
        let mut frames = Frames::open(fixture.listen());
        for (number, piece) in Frames::block(&block).chunks(16_000).enumerate() {
            let (kind, flags) = if number == 0 { (HEADERS, END_STREAM) } else { (9, 0) };
            frames.send(kind, flags, 1, piece);
        }
        frames.send(9, END_HEADERS, 1, &[]);
        let seen = frames.read();
        let text = String::from_utf8_lossy(&seen);
        assert!(text.contains(wanted), "{cookies} cookies, {others} others: {text}");
    }
    assert_eq!(fixture.record("head_too_large")["status"], 431);
}

#[test]
fn h3_a_connection_of_http2_ends_after_some_malformed_requests() {
    let fixture = fixture();
    let mut frames = Frames::open(fixture.listen());
    let mut fields = GET.to_vec();
    fields.push((b"x-a", b" 1"));
    for stream in 0..40 {
        frames.send(HEADERS, END_STREAM | END_HEADERS, stream * 2 + 1, &Frames::block(&fields));
        std::thread::park_timeout(Duration::from_millis(5));
    }
    frames.read();
    // Closed, so that nothing comes back any more.
    let mut buffer = [0; 16];
    let ended = (0..50).any(|_| matches!(frames.0.read(&mut buffer), Ok(0)) || frames.0.write_all(&[0; 9]).is_err());
    assert!(ended);
    let refused = fixture.count_records("reason", "malformed_request");
    assert!((16..40).contains(&refused), "{refused}");
}

#[test]
fn p7_a_flood_of_control_frames_ends_in_goaway() {
    let fixture = fixture();
    for (kind, stream, payload) in
        [(2, 1, vec![0, 0, 0, 0, 1]), (4, 0, vec![]), (6, 0, vec![0; 8]), (8, 0, vec![0, 0, 0, 1])]
    {
        let mut frames = Frames::open(fixture.listen());
        frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &Frames::block(&GET));
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, stream];
        frame.extend(payload);
        // As many at once as the bytes of one read can hold, and many reads of them.
        let flood = frame.repeat(1000);
        let sent = (0..200).take_while(|_| frames.0.write_all(&flood).is_ok()).count();
        let seen = frames.read();
        let goaway = seen.windows(9).any(|head| head[3] == 7 && head[5..9] == [0; 4] && head[..2] == [0, 0]);
        assert!(goaway || sent < 200, "kind {kind}: neither told nor closed");
    }
    assert_eq!(fixture.get("/open").status, 200);
}

#[test]
fn m5_who_says_nothing_gives_way_to_who_asks() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_MAX_CONNECTIONS", "16")]);
    let mut silent: Vec<_> = (0..40).map(|_| connect(&fixture)).collect();
    assert_eq!(fixture.get("/x").status, 200);
    let metrics = fixture.admin("/metrics").body;
    let figure = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(figure("portreeve_proxy_connections") <= 8.0, "one address has half of 16");
    assert!(figure("portreeve_proxy_connections_displaced_total") >= 32.0, "{metrics}");
    // The oldest gave way, the newest is still there.
    assert!(read_all(&mut silent[0]).1);
    let last = silent.last_mut().unwrap();
    last.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_all(last).0.starts_with("HTTP/1.1 200 "));
}
