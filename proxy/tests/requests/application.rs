//! Applications as they are: where they listen, and when they close connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use serde_json::json;

use crate::fixture::{Fixture, open_rule};

/// Reads one head; `None` at the end of the connection.
fn head(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0; 1]);
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn hello(stream: &mut TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
}

#[test]
fn fault_14_an_application_on_the_ipv6_loopback_alone_is_reached() {
    // A machine without IPv6 has no such application.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while head(&mut stream).is_some() {
                    hello(&mut stream);
                }
            });
        }
    });
    let fixture = Fixture::start_before(port, "Http1", &[]);
    let reply = fixture.get("/orders");
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
}

/// An application that answers the first request of each connection and ends it, in its own way, when the second comes.
fn once_and_gone(last_words: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count) = (stream.unwrap(), Arc::clone(&count));
            std::thread::spawn(move || {
                if head(&mut stream).is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    hello(&mut stream);
                }
                if head(&mut stream).is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    drop(stream.write_all(last_words));
                }
            });
        }
    });
    (port, asked)
}

fn ask(fixture: &Fixture, method: &str, more: &str) -> u16 {
    // Time for the connection to be put away.
    std::thread::park_timeout(Duration::from_millis(5));
    fixture.send(&format!("{method} /x HTTP/1.1\r\nHost: a\r\n{more}")).status
}

#[test]
fn b4_an_application_of_http_1_0_is_answered_for_in_http_1_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            head(&mut stream);
            drop(stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
        }
    });
    let fixture = Fixture::start_before(port, "Http1", &[]);
    let mut client = fixture.connect();
    // The connection to the client goes on.
    for _ in 0..2 {
        client.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.read_until("hello").starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn fault_03_a_kept_connection_that_ends_costs_no_idempotent_request() {
    for method in ["GET", "OPTIONS", "PUT", "DELETE"] {
        let (port, asked) = once_and_gone(b"");
        let fixture = Fixture::start_before(port, "Http1", &[]);
        let statuses: Vec<_> = (0..4).map(|_| ask(&fixture, method, "\r\n")).collect();
        assert_eq!(statuses, [200; 4], "{method}");
        assert_eq!(asked.load(Ordering::SeqCst), 7, "{method}: each but the first was sent twice, and no more");
    }
}

#[test]
fn fault_03_what_may_not_be_repeated_and_what_was_answered_is_not() {
    for (method, more, last_words) in [
        ("POST", "Content-Length: 0\r\n\r\n", &b""[..]),
        ("PATCH", "\r\n", b""),
        // A body that is gone, and an answer that had begun.
        ("PUT", "Content-Length: 1\r\n\r\nx", b""),
        ("GET", "\r\n", b"H"),
        ("GET", "\r\n", b"HTTP/1.1 200 OK\r\n"),
    ] {
        let (port, asked) = once_and_gone(last_words);
        let fixture = Fixture::start_before(port, "Http1", &[]);
        assert_eq!((ask(&fixture, "GET", "\r\n"), ask(&fixture, method, more)), (200, 502), "{method} {more:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{method} {more:?}");
    }
}

/// As nginx, Node and Tomcat do it, with a time that meets the requests.
#[test]
fn fault_03_an_application_that_closes_idle_connections_costs_no_get() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            std::thread::spawn(move || {
                while head(&mut stream).is_some() {
                    hello(&mut stream);
                }
            });
        }
    });
    let fixture = Fixture::start_before(port, "Http1", &[]);
    let mut client = fixture.connect();
    for number in 0..200 {
        client.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.read_until("\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer}");
        if !answer.contains("hello") {
            client.read_until("hello");
        }
        std::thread::park_timeout(Duration::from_micros(19_500 + 10 * number));
    }
}

/// The second try is the last one.
#[test]
fn fault_03_an_application_that_never_answers_is_asked_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, first) = (Arc::clone(&asked), Arc::clone(&answered));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count, first) = (stream.unwrap(), Arc::clone(&count), Arc::clone(&first));
            std::thread::spawn(move || {
                while head(&mut stream).is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    if first.fetch_add(1, Ordering::SeqCst) > 0 {
                        return;
                    }
                    hello(&mut stream);
                }
            });
        }
    });
    let fixture = Fixture::start_before(port, "Http1", &[]);
    assert_eq!((ask(&fixture, "GET", "\r\n"), ask(&fixture, "GET", "\r\n")), (200, 502));
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn p10_targets_that_are_too_long_are_414() {
    let (port, asked) = once_and_gone(b"");
    let fixture = Fixture::start_before(port, "Http1", &[]);
    for (path, query) in [(8_193, 0), (70_000, 0), (10, 70_000)] {
        let target = format!("/{}?{}", "a".repeat(path), "b".repeat(query));
        let reply = fixture.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((reply.status, reply.json()["reason"].as_str()), (414, Some("target_too_long")), "{path} {query}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(fixture.get(&format!("/{}", "a".repeat(8_191))).status, 200);
}

#[test]
fn p12_a_permitted_request_whose_client_left_is_recorded_as_permitted() {
    let fixture = Fixture::start(&serde_json::json!([open_rule("all", "/")]));
    let mut client = fixture.connect();
    client.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture.wait_for_app(1);
    drop(client);
    let record = fixture.record("client_left");
    assert_eq!((record["outcome"].as_str(), record["status"].is_null()), (Some("permit"), true), "{record}");
}

#[test]
fn p11_a_slow_body_is_408_and_a_slow_application_504() {
    let mut rule = open_rule("all", "/");
    rule.as_object_mut().unwrap().insert("timeout".to_owned(), serde_json::json!(400));
    let fixture = Fixture::start(&serde_json::json!([rule]));
    let mut client = fixture.connect();
    // The application of the bed answers without reading bodies, but for this path, which takes its time.
    client.write("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    let answer = client.read_until("slow_request_body");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    assert_eq!(fixture.record("slow_request_body")["status"], 408);
    let whole = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    for request in [whole, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"] {
        assert_eq!(fixture.send(request).status, 504, "{request}");
    }
}

/// An application that says `first`, waits for a word from the test, and says `then`, on every connection.
fn in_two_parts(first: &'static str, then: &'static str) -> (u16, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, wait) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            while head(&mut stream).is_some() {
                drop(stream.write_all(first.as_bytes()));
                if wait.recv().is_err() {
                    return;
                }
                drop(stream.write_all(then.as_bytes()));
            }
        }
    });
    (port, go)
}

const HINTS: &str = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\
                     Connection: x-a\r\nX-A: b\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn fault_16_interim_answers_reach_the_client_before_the_final_one() {
    let (port, go) = in_two_parts(HINTS, HELLO);
    let fixture = Fixture::start_before(port, "Http1", &[]);
    let mut client = fixture.connect();
    for _ in 0..3 {
        client.write("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        // The final answer is not there yet.
        let early = client.read_until("rel=preload\r\nvia: 1.1 portreeve\r\n\r\n");
        assert!(
            early.starts_with("HTTP/1.1 102 Processing\r\nvia: 1.1 portreeve\r\n\r\nHTTP/1.1 103 Early Hints\r\n"),
            "{early}"
        );
        assert!(!early.contains("x-a") && !early.contains("connection"), "{early}");
        go.send(()).unwrap();
        let last = client.read_until("hello");
        assert!(last.starts_with("HTTP/1.1 200 OK\r\n"), "{last}");
    }
}

#[test]
fn fault_16_interim_answers_come_first_however_the_application_sends_them() {
    let (port, go) = in_two_parts(
        "",
        concat!("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    );
    let fixture = Fixture::start_before(port, "Http1", &[]);
    let mut client = fixture.connect();
    // Two requests at once: each interim answer stands before its own final one.
    client.write("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    go.send(()).unwrap();
    go.send(()).unwrap();
    for _ in 0..2 {
        let both = client.read_until("hello");
        assert!(both.starts_with("HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n"), "{both}");
        assert_eq!(both.matches("HTTP/1.1 ").count(), 2, "{both}");
    }
}

#[test]
fn fault_16_clients_that_know_no_interim_answers_get_none() {
    let (port, go) = in_two_parts(HINTS, HELLO);
    let fixture = Fixture::start_before(port, "Http1", &[]);
    go.send(()).unwrap();
    let mut client = fixture.connect();
    client.write("GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    let answer = client.read_until("hello");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
}

#[test]
fn a_client_of_http_1_0_without_host_gets_only_what_no_route_names_a_host_for() {
    let fixture = Fixture::start(&json!([open_rule("all", "/orders")]));
    let reply = fixture.send("GET /orders HTTP/1.0\r\n\r\n");
    assert_eq!(reply.status, 200);
    let named = Fixture::start_route(&json!([open_rule("all", "/orders")]), None, &json!({"hostnames": ["a.test"]}));
    assert_eq!(named.send("GET /orders HTTP/1.0\r\n\r\n").status, 404);
    assert_eq!(named.send("GET /orders HTTP/1.0\r\nHost: a.test\r\n\r\n").status, 200);
}
