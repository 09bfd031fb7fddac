//! One meaning for every byte: what HTTP says and parsers let pass.

use serde_json::json;

use crate::{
    fixture::{Fixture, open_rule},
    frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS},
};

fn fixture() -> Fixture {
    Fixture::start(&json!([open_rule("all", "/")]))
}

/// What comes back over HTTP/2 for these fields.
fn over_http2(fixture: &Fixture, fields: &[(&[u8], &[u8])]) -> String {
    let mut frames = Frames::open(fixture.listen());
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &Frames::block(fields));
    String::from_utf8_lossy(&frames.read()).into_owned()
}

fn instead(name: &[u8], value: &'static [u8]) -> Vec<(&'static [u8], &'static [u8])> {
    let mut fields = GET.to_vec();
    fields.iter_mut().filter(|(held, _)| *held == name).for_each(|field| field.1 = value);
    fields
}

#[test]
fn p13_a_target_of_another_scheme_is_misdirected() {
    let fixture = fixture();
    let get = |target: &str| fixture.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(get("http://a/x").status, 200);
    let reply = get("https://a/x");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (421, json!("wrong_scheme")));
    assert!(over_http2(&fixture, &GET).contains("hello"));
    assert!(over_http2(&fixture, &instead(b":scheme", b"https")).contains("wrong_scheme"));
    assert_eq!(fixture.app_log().len(), 2);
}

#[test]
fn p13_a_trusted_proxy_may_have_ended_tls() {
    let trust = json!({"clientAddress": {"forwarded": {
        "header": "XForwardedFor", "trustedProxies": ["127.0.0.0/8"], "additionalHeaders": ["XForwardedProto"],
    }}});
    let fixture = Fixture::start_route(&json!([open_rule("all", "/")]), None, &trust);
    let mut fields = instead(b":scheme", b"https");
    fields.push((b"x-forwarded-for", b"192.0.2.1"));
    fields.push((b"x-forwarded-proto", b"https"));
    assert!(over_http2(&fixture, &fields).contains("hello"));
}

#[test]
fn p14_malformed_requests_of_http2_are_400() {
    let fixture = fixture();
    for fields in [instead(b":path", b"?x"), [GET.to_vec(), vec![(b"x-a", b" 1")]].concat()] {
        let seen = over_http2(&fixture, &fields);
        assert!(!seen.contains("hello"), "{fields:?}: {seen}");
    }
    for value in [b"1 ".as_slice(), b"\t1"] {
        let seen = over_http2(&fixture, &[GET.to_vec(), vec![(b"x-a", value)]].concat());
        assert!(!seen.contains("hello"), "{value:?}: {seen}");
    }
    assert!(fixture.app_log().is_empty());
}

#[test]
fn p15_options_of_the_server_is_answered_by_the_gateway() {
    let fixture = fixture();
    let reply = fixture.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(reply.status, 204);
    assert_eq!(fixture.record("metadata")["status"], 204);
    assert_eq!(fixture.send("OPTIONS * HTTP/1.1\r\n\r\n").status, 400);
    assert_eq!(fixture.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    assert_eq!(fixture.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
    assert!(fixture.app_log().is_empty());
}

#[test]
fn max_forwards_is_counted_down_and_ends_at_the_gateway() {
    let fixture = fixture();
    let ask = |method: &str, count: &str| {
        fixture.send(&format!("{method} /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: {count}\r\n\r\n")).status
    };
    assert_eq!(ask("OPTIONS", "0"), 204);
    assert!(fixture.app_log().is_empty());
    assert_eq!(ask("OPTIONS", "7"), 200);
    assert_eq!((ask("GET", "0"), ask("OPTIONS", "many")), (200, 200));
    let seen = fixture.app_log();
    assert!(seen[0].contains("max-forwards: 6\r\n"), "{seen:?}");
    assert!(seen[1].contains("max-forwards: 0\r\n") && seen[2].contains("max-forwards: many\r\n"), "{seen:?}");
}

#[test]
fn p17_lengths_that_others_read_in_another_way_are_400() {
    let fixture = fixture();
    let post = |length: &str| {
        fixture.send(&format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nab")).status
    };
    assert_eq!(post("2"), 200);
    for length in ["02", "00", "0002", "9223372036854775808", "18446744073709551616", "+2", "2,2", "0x2"] {
        assert_eq!(post(length), 400, "{length}");
    }
    assert_eq!(fixture.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status, 200);
}

#[test]
fn p18_chunk_extensions_are_of_their_form_and_do_not_go_on() {
    let fixture = fixture();
    let post = |line: &str| {
        let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        fixture.send(&format!("{head}{line}\r\nhello\r\n0\r\n\r\n")).status
    };
    for line in ["5", "5;a", "5 ; a = b", "5;a=b;c=\"d\\\"e;\"", "5;a;b"] {
        assert_eq!(post(line), 200, "{line}");
    }
    for line in ["5;", "5;bad[=x", "5 ", "5;a=", "5;a=\"b", "5;=b", "5 a", "5;a b", "5;;a"] {
        assert_eq!(post(line), 400, "{line}");
    }
}

#[test]
fn p19_an_empty_port_is_that_of_the_scheme() {
    assert_eq!(fixture().send("GET /x HTTP/1.1\r\nHost: a.test:\r\n\r\n").status, 200);
}
