//! One map of header fields, at a running proxy: what rules look at is what the application gets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use serde_json::{Value, json};

use crate::fixture::{Fixture, open_rule};

/// An open rule below a prefix with a condition on headers.
fn conditional(prefix: &str, headers: &Value) -> Value {
    let mut rule = open_rule(prefix.trim_start_matches('/'), prefix);
    let condition = json!({"request": {"methods": [], "pathParameters": [], "headers": headers}});
    rule["state"]["ready"]["authorization"] = json!({"allOf": [condition]});
    rule
}

fn ask(fixture: &Fixture, path: &str, lines: &str) -> (u16, String) {
    let reply = fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    let reason = if reply.status == 200 { String::new() } else { reply.json()["reason"].as_str().unwrap().to_owned() };
    (reply.status, reason)
}

fn last(fixture: &Fixture) -> String {
    fixture.app_log().pop().unwrap().to_ascii_lowercase()
}

#[test]
fn h7_what_a_condition_saw_is_what_the_application_gets() {
    let tenant = conditional("/tenant", &json!([{"name": "x-tenant", "test": {"in": ["acme"]}}]));
    let debug = conditional("/debug", &json!([{"name": "x-debug", "test": {"exists": false}}]));
    let mut old = open_rule("old", "/api");
    old["state"] = json!({"refusing": {"reason": "Closed", "message": "x"}});
    let mut new = open_rule("new", "/api");
    new["matches"][0]["headers"] = json!([{"name": "x-api-version", "value": "2"}]);
    let fixture = Fixture::start(&json!([tenant, debug, old, new]));
    for (path, lines, status, reason) in [
        ("/tenant", "X-Tenant: acme\r\n", 200, ""),
        ("/tenant", "X-Tenant: acme\r\nConnection: x-tenant\r\n", 400, "ambiguous_fields"),
        ("/tenant", "X-Tenant: acme\r\nConnection: close ,, X-TENANT\r\n", 400, "ambiguous_fields"),
        ("/tenant", "X-Tenant: acme\r\nX_Tenant: evil\r\n", 400, "ambiguous_fields"),
        ("/debug", "", 200, ""),
        ("/debug", "X_Debug: 1\r\n", 400, "ambiguous_fields"),
        ("/debug", "X-Debug: 1\r\nConnection: x-debug\r\n", 400, "ambiguous_fields"),
        ("/api", "X-Api-Version: 2\r\n", 200, ""),
        ("/api", "X-Api-Version: 2\r\nConnection: X-Api-Version\r\n", 400, "ambiguous_fields"),
        ("/api", "", 503, "closed"),
        ("/debug", "Connection: a b\r\n", 400, "ambiguous_fields"),
    ] {
        assert_eq!(ask(&fixture, path, lines), (status, reason.to_owned()), "{path} {lines}");
    }
    assert_eq!(fixture.app_log().len(), 3);
    assert_eq!(fixture.record("ambiguous_fields")["outcome"], "deny");
}

const OVERRIDES: &str = "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n\
    X-Forwarded-Client-Cert: x\r\nX-SSL-Client-Cert: x\r\nX-Forwarded-User: root\r\nX-Remote-User: root\r\n\
    X-Forwarded-Ssl: on\r\nX-Client-IP: 6.6.6.6\r\nTrue-Client-IP: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nProxy: x\r\n\
    X-Forwarded-Prefix: /x\r\nX-Middleware-Subrequest: x\r\nPortreeve-Subject: root\r\n";

#[test]
fn m8_overrides_go_no_further_unless_the_route_lets_them() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    assert_eq!(ask(&fixture, "/", &format!("{OVERRIDES}X-Request-Id: 7\r\n")).0, 200);
    let seen = last(&fixture);
    for line in OVERRIDES.lines() {
        let (name, _) = line.split_once(':').unwrap();
        assert!(!seen.contains(&format!("{}:", name.to_ascii_lowercase())), "{name}: {seen}");
    }
    assert!(seen.contains("x-request-id: 7"), "{seen}");

    let mut tunnelled = open_rule("tunnelled", "/");
    tunnelled["matches"][0]["headers"] = json!([{"name": "x-http-method-override", "value": "DELETE"}]);
    tunnelled["state"] = json!({"refusing": {"reason": "Closed", "message": "x"}});
    let rules = json!([open_rule("all", "/"), tunnelled]);
    let passed = json!({"passHeaders": ["x-http-method-override", "x_legacy"]});
    let fixture = Fixture::start_route(&rules, None, &passed);
    assert_eq!(ask(&fixture, "/", "X-HTTP-Method-Override: PATCH\r\nX_Legacy: 1\r\nX-Original-URL: /a\r\n").0, 200);
    let seen = last(&fixture);
    assert!(seen.contains("x-http-method-override: patch") && seen.contains("x_legacy: 1"), "{seen}");
    assert!(!seen.contains("x-original-url"), "{seen}");
    assert_eq!(ask(&fixture, "/", OVERRIDES), (503, "closed".to_owned()), "what passes can be matched");
    assert_eq!(ask(&fixture, "/", "X_Other: 1\r\n"), (400, "ambiguous_fields".to_owned()));
}

/// A rule whose match needs what requests never have must not leave them to a broader one.
#[test]
fn m8_h7_a_rule_that_can_never_match_refuses() {
    for (name, pass) in [("x-original-url", json!([])), ("x-forwarded-proto", json!([])), ("te", json!([]))] {
        let mut guarded = open_rule("guarded", "/admin");
        guarded["matches"][0]["headers"] = json!([{ "name": name, "value": "https" }]);
        let fixture =
            Fixture::start_route(&json!([open_rule("all", "/"), guarded]), None, &json!({ "passHeaders": pass }));
        for lines in [String::new(), format!("{name}: https\r\n")] {
            assert_eq!(ask(&fixture, "/admin", &lines), (503, "invalid_policy".to_owned()), "{name} {lines}");
        }
        assert_eq!(ask(&fixture, "/x", "").0, 200);
    }
    let watched = conditional("/", &json!([{"name": "x-debug", "test": {"exists": false}}]));
    let fixture = Fixture::start_route(&json!([watched]), None, &json!({"passHeaders": ["x_debug"]}));
    assert_eq!(ask(&fixture, "/", "X_Debug: 1\r\n"), (503, "invalid_policy".to_owned()));
}

#[test]
fn m1_19_a_trusted_proxy_is_never_the_client_because_of_what_it_wrote() {
    let mut rule = open_rule("all", "/");
    let inside = json!({"addresses": {"allow": ["10.0.0.0/8", "127.0.0.0/8"], "deny": []}});
    rule["state"]["ready"]["authorization"] = json!({"allOf": [inside]});
    for (header, field, values) in [
        (
            "Forwarded",
            "Forwarded",
            &["for=203.0.113.5, , for=10.0.0.1", "for=203.0.113.5,", "for=unknown", "for=_x", "rubbish", "", ","][..],
        ),
        (
            "XForwardedFor",
            "X-Forwarded-For",
            &["203.0.113.5, , 10.0.0.1", "203.0.113.5,", "[2001:db8::7]", "unknown", "10.0.0.1:", "", ","],
        ),
    ] {
        let trust = json!({"clientAddress": {"forwarded": {
            "header": header, "trustedProxies": ["127.0.0.0/8", "10.0.0.0/8"],
        }}});
        let fixture = Fixture::start_route(&json!([rule]), None, &trust);
        for value in values {
            let lines = format!("{field}: {value}\r\n");
            assert_eq!(ask(&fixture, "/", &lines), (403, "address_not_allowed".to_owned()), "{lines}");
        }
        assert_eq!(ask(&fixture, "/", "").0, 200, "without the field the peer is the client");
        let own = if header == "Forwarded" { "for=10.0.0.9" } else { "10.0.0.9, 10.0.0.1" };
        assert_eq!(ask(&fixture, "/", &format!("{field}: {own}\r\n")).0, 200);
        let record = fixture.record("address_not_allowed");
        assert_eq!(record["peer_address"], "127.0.0.1", "{record}");
    }
}

#[test]
fn fault_13_via_is_added_to() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    assert_eq!(ask(&fixture, "/", "Via: 1.0 edge, 1.1 cdn\r\nVia: 1.1 x\r\nConnection: via\r\n").0, 200);
    let seen = last(&fixture);
    let lines: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix("via: ")).collect();
    assert!(lines.len() == 3 && lines[..2] == ["1.0 edge, 1.1 cdn", "1.1 x"], "{seen}");
    assert!(lines[2].starts_with("1.1 portreeve"), "{seen}");
}

/// The proxy's own ports are no application, and a request that comes back is known.
#[test]
fn l3_a_route_to_the_proxy_itself_refuses_and_loops_end() {
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for port in [listen.port(), admin.port()] {
        let settings = [("PORTREEVE_LISTEN", listen.to_string()), ("PORTREEVE_ADMIN", admin.to_string())];
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let fixture = Fixture::start_at(listen, admin, port, &settings);
        assert_eq!(ask(&fixture, "/snapshot", ""), (503, "invalid_policy".to_owned()), "{port}");
    }
    // Two proxies that send everything to each other: the first one knows its own name when it comes back.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let first = Fixture::start_before(other.port(), "Http1", &[]);
    let address = other.to_string();
    let second = Fixture::start_at(other, admin, first.listen().port(), &[("PORTREEVE_LISTEN", &address)]);
    assert_eq!(ask(&first, "/", ""), (508, "loop_detected".to_owned()));
    assert_eq!(second.record("permitted")["status"], 508);
    assert_eq!(first.record("loop_detected")["outcome"], "deny");
}

#[test]
fn o9_l8_the_probe_port_tells_health_and_nothing_else() {
    let probes = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[("PORTREEVE_PROBES", &probes.to_string())]);
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 404), ("/jwks", 404), ("/snapshot", 404)] {
        assert_eq!(Fixture::at(probes, path).status, status, "{path}");
    }
    assert_eq!(fixture.admin("/metrics").status, 200);
}

/// A body is part of the request, whatever the method is.
#[test]
fn l4_a_body_of_any_method_reaches_the_application() {
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        let fixture = Fixture::start(&json!([open_rule("all", "/")]));
        fixture.send(&format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
        assert!(last(&fixture).contains("content-length: 2"), "{method}: {}", last(&fixture));
        // The application sends back what came behind the head, with its chunks.
        let mut client = fixture.connect();
        let chunks = "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        client.write(&format!("{method} /echo HTTP/1.1\r\nHost: a\r\n{chunks}"));
        let seen = client.read_until("hi");
        assert!(seen.starts_with("HTTP/1.1 200"), "{method}: {seen}");
    }
}
