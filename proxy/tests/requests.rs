//! The proxy as a process, over sockets. Its policy comes from a stored snapshot, so that every test starts from the
//! last known good and no operator is needed; the application behind it logs every byte that reaches it.

#[path = "requests/application.rs"]
mod application;
#[path = "requests/arrival.rs"]
mod arrival;
#[path = "requests/authorization.rs"]
mod authorization;
#[path = "requests/bounds.rs"]
mod bounds;
#[path = "requests/clocks.rs"]
mod clocks;
#[path = "requests/cors.rs"]
mod cors;
#[path = "requests/credentials.rs"]
mod credentials;
#[path = "requests/fields.rs"]
mod fields;
#[path = "requests/fixture.rs"]
mod fixture;
#[path = "requests/frames.rs"]
mod frames;
#[path = "requests/http2.rs"]
mod http2;
#[path = "requests/introspection.rs"]
mod introspection;
#[path = "requests/limits.rs"]
mod limits;
#[path = "requests/meaning.rs"]
mod meaning;
#[path = "requests/mutual_tls.rs"]
mod mutual_tls;
#[path = "requests/possession.rs"]
mod possession;
#[path = "requests/setup.rs"]
mod setup;
#[path = "requests/token_age.rs"]
mod token_age;

use std::time::Duration;

use fixture::{Fixture, Reply, open_rule};
use serde_json::json;

#[test]
fn serves_from_the_last_known_good_and_says_ready() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    assert_eq!(fixture.admin("/readyz").status, 200);
    let reply = fixture.send("GET /orders/7?x=1 HTTP/1.1\r\nHost: orders.example.com\r\n\r\n");
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    let seen = fixture.app_log().pop().unwrap();
    assert!(seen.starts_with("GET /orders/7?x=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("forwarded: for=127.0.0.1;host=orders.example.com;proto=http\r\n"), "{seen}");
    assert!(seen.contains("via: 1.1 portreeve-"), "{seen}");
    let record = fixture.record("permitted");
    assert_eq!((record["route"].as_str(), record["rule"].as_str()), (Some("default/orders"), Some("all")));
    assert_eq!(reply.header("portreeve-decision-id"), record["decision_id"].as_str().unwrap());
}

#[test]
fn without_any_snapshot_it_is_not_ready_and_refuses_everything() {
    let fixture = Fixture::start_empty();
    assert_eq!((fixture.admin("/readyz").status, fixture.admin("/livez").status), (503, 200));
    let reply = fixture.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("not_ready")));
    assert!(fixture.app_log().is_empty());
}

#[test]
fn ambiguous_requests_get_400_and_never_reach_the_application() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET //a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /a;x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /\\a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    ] {
        println!("{request:?}");
        let reply = fixture.send(request);
        assert_eq!(reply.status, status, "{request:?} {}", reply.body);
    }
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    assert_eq!(fixture.send(&large).status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(200));
    assert_eq!(fixture.send(&many).status, 431);
    assert_eq!(fixture.app_log(), Vec::<String>::new());
}

#[test]
fn a_smuggled_second_request_is_never_seen_f1_f2() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    let reply = fixture.send(
        "GET /first HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    assert!(reply.rest.contains("400 Bad Request") && reply.rest.contains("connection: close"), "{}", reply.rest);
    let log = fixture.app_log();
    assert!(log.len() == 1 && log[0].starts_with("GET /first "), "{log:?}");
}

#[test]
fn trust_headers_and_hop_by_hop_fields_of_the_client_do_not_pass_h1_h2() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    let reply = fixture.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-private, close\r\nX-Private: 1\r\nForwarded: for=6.6.6.6\r\n\
         X-Forwarded-For: 6.6.6.6\r\nAuthorization: Bearer abc\r\nTE: gzip\r\n\
         Portreeve-Subject: root\r\nX-Kept: 1\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let seen = fixture.app_log().pop().unwrap().to_ascii_lowercase();
    for gone in ["x-private", "6.6.6.6", "authorization", "te:", "portreeve-subject", "connection"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert!(seen.contains("x-kept: 1"));
}

/// Neither query nor fragment is part of a match, and what was decided is what is asked upstream, byte for byte.
#[test]
fn p4_p5_the_target_that_was_matched_is_the_one_that_is_sent() {
    let mut admin = open_rule("admin", "/admin");
    admin["state"] = json!({"refusing": {"reason": "Closed", "message": "x"}});
    let fixture = Fixture::start(&json!([open_rule("public", "/public"), admin]));
    for (target, status, sent) in [
        ("/public/a?x=/admin", 200, "/public/a?x=/admin"),
        ("/public/%61?/../admin", 200, "/public/a?/../admin"),
        ("/public/a%2e?b", 200, "/public/a.?b"),
        ("http://a/public/c?d", 200, "/public/c?d"),
        ("/admin?/public", 503, ""),
        ("/admin%3F/public", 404, ""),
        ("/%61dmin/x?/public", 503, ""),
        ("/public/..%2fadmin", 400, ""),
        ("/public/a#/../admin", 400, ""),
        ("/public;x=/admin", 400, ""),
    ] {
        let before = fixture.app_log().len();
        let reply = fixture.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(reply.status, status, "{target}");
        let seen = fixture.app_log().get(before).cloned().unwrap_or_default();
        let asked = seen.split(' ').nth(1).unwrap_or_default();
        assert_eq!(asked, sent, "{target}");
        if status == 200 {
            let record = fixture.record_where("decision_id", reply.header("portreeve-decision-id"));
            assert_eq!(record["path"].as_str(), sent.split('?').next(), "{target}");
        }
    }
}

#[test]
fn a_rule_without_policy_refuses_and_its_neighbour_does_not() {
    let refused = json!({"refusing": {"reason": "NoPolicy", "message": "nobody says"}});
    let mut closed = open_rule("closed", "/closed");
    closed["state"] = refused;
    let fixture = Fixture::start(&json!([open_rule("all", "/open"), closed]));
    assert_eq!(fixture.get("/open").status, 200);
    let reply = fixture.get("/closed/x");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("no_policy")));
    assert!(!reply.body.contains("nobody says"), "internals stay inside");
    assert_eq!(fixture.get("/elsewhere").status, 404);
    assert_eq!(fixture.app_log().len(), 1);
}

#[test]
fn methods_outside_the_rule_are_named() {
    let mut rule = open_rule("read", "/");
    rule["matches"][0]["methods"] = json!(["GET", "HEAD"]);
    let fixture = Fixture::start(&json!([rule]));
    let reply = fixture.send("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn faults_of_the_application_have_their_own_answers() {
    let mut slow = open_rule("slow", "/slow");
    slow["timeout"] = json!(300);
    let fixture = Fixture::start(&json!([open_rule("all", "/"), slow]));
    for (path, status, reason) in [
        ("/slow", 504, "upstream_timeout"),
        ("/garbage", 502, "upstream_protocol_error"),
        ("/hangup", 502, "upstream_protocol_error"),
    ] {
        let reply = fixture.get(path);
        assert_eq!((reply.status, reply.json()["reason"].clone()), (status, json!(reason)), "{path}");
    }
    fixture.stop_app();
    let reply = fixture.get("/gone");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("upstream_unreachable")));
}

#[test]
fn bodies_stream_both_ways_without_waiting_for_their_end() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    let mut client = fixture.connect();
    client.write("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let head = client.read_until("first");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    client.write("6\r\nsecond\r\n0\r\n\r\n");
    client.read_until("second");
}

#[test]
fn a_switch_of_protocols_needs_a_rule_that_allows_it_f3() {
    let mut live = open_rule("live", "/live");
    live["upgrades"] = json!(["WebSocket"]);
    let fixture = Fixture::start(&json!([open_rule("all", "/"), live]));
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let refused = fixture.send(&ask("/ws"));
    assert_eq!((refused.status, refused.json()["reason"].clone()), (403, json!("upgrade_not_allowed")));
    let mut client = fixture.connect();
    client.write(&ask("/live/ws"));
    let head = client.read_until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    client.write("not http at all\n\0\x01");
    client.read_until("not http at all\n\0\x01");
}

#[test]
fn tokens_are_verified_and_scopes_compared() {
    let keys = fixture::Signer::new();
    let mut rule = open_rule("read", "/");
    rule["state"] = fixture::jwt_access("orders:read");
    let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
    let ask =
        |token: &str| fixture.send(&format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let none = fixture.get("/");
    assert_eq!(none.header("www-authenticate"), r#"Bearer realm="portreeve", scope="orders:read""#);
    assert_eq!((none.status, ask(&keys.token("orders:read", "orders")).status), (401, 200));
    let lacking = ask(&keys.token("orders:write", "orders"));
    assert_eq!(lacking.status, 403);
    assert!(lacking.header("www-authenticate").contains(r#"error="insufficient_scope""#));
    assert_eq!(ask(&keys.token("orders:read", "stock")).status, 401);
    assert_eq!(ask("opaque").status, 401);
    assert_eq!(ask(&fixture::Signer::new_other().token("orders:read", "orders")).status, 401);
    let twice = fixture.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n");
    assert_eq!(twice.status, 400);
    assert_eq!(fixture.app_log().len(), 1);
    // Facts are remembered, verdicts are not (I1): the same token again, then a stricter look at it.
    let token = keys.token("orders:read", "orders");
    assert_eq!((ask(&token).status, ask(&token).status), (200, 200));
    assert_eq!(fixture.record_where("token_cache", "hit")["outcome"], "permit");
}

#[test]
fn the_access_log_is_sampled_and_tells_bytes_at_the_end() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_ACCESS_LOG", "1/2")]);
    for number in 0..4 {
        assert_eq!(fixture.get(&format!("/{number}")).status, 200);
    }
    let logged = fixture.record_where("path", "/2");
    assert_eq!(logged["log"], "decision");
    let entry = fixture.record_where("log", "access");
    assert_eq!(
        (entry["bytes"].as_u64(), entry["whole"].as_bool(), entry["status"].as_u64()),
        (Some(5), Some(true), Some(200))
    );
    assert_eq!(fixture.count_records("log", "access"), 2);
}

#[test]
fn slow_heads_and_idle_connections_are_closed_d2() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_HEAD_SECONDS", "1")]);
    for said in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "PRI * HTT"] {
        let mut client = fixture.connect();
        client.write(said);
        assert!(client.closes_within(Duration::from_secs(4)), "still open after {said:?}");
    }
    // Kept alive, but idle; and a second head that never ends.
    for more in ["", "GET /2 HTTP/1.1\r\n"] {
        let mut client = fixture.connect();
        client.write("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.read_until("hello");
        client.write(more);
        assert!(client.closes_within(Duration::from_secs(4)), "still open after an answer and {more:?}");
    }
    // A request that takes longer than a head may take is not cut off.
    let mut slow = fixture.connect();
    slow.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(slow.read_until("hello").starts_with("HTTP/1.1 200"));
}

#[test]
fn drains_what_runs_and_ends_in_time() {
    let mut fixture = Fixture::start(&json!([open_rule("all", "/")]));
    let mut client = fixture.connect();
    client.write("GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture.wait_for_app(1);
    fixture.terminate();
    assert_eq!(fixture.admin("/readyz").status, 503);
    let reply = Reply::parse(&client.read_until("hello"));
    assert_eq!(reply.status, 200);
    assert!(fixture.ended_within(Duration::from_secs(5)));
}

#[test]
fn snapshots_are_told_without_secrets_and_metrics_are_prometheus_text() {
    let keys = fixture::Signer::new();
    let mut rule = open_rule("read", "/");
    rule["state"] = fixture::jwt_access("orders:read");
    let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
    fixture.get("/");
    let snapshot = fixture.admin("/snapshot");
    assert_eq!(snapshot.json()["routes"]["default/orders"]["rules"][0]["name"], "read");
    assert!(!snapshot.body.contains("c4n4ry"));
    let metrics = fixture.admin("/metrics").body;
    let line =
        r#"portreeve_decisions_total{outcome="deny",reason="no_credentials",route="default/orders",rule="read"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}
