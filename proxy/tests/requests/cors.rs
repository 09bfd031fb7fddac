//! CORS preflights at a running proxy.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use serde_json::{Value, json};

use crate::fixture::{Fixture, Signer, guarded, jwt_rule, open_rule};

const PREFLIGHT: &str = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n";

/// A rule for GET below `/r` that asks for a token, a scope and this much more.
fn closed(more: &Value) -> Value {
    let mut rule = open_rule("r", "/r");
    rule["matches"] = json!([{"path": {"prefix": "/r"}, "methods": ["GET"], "headers": []}]);
    rule["state"] = guarded(&json!([{"allOf": [{"jwt": jwt_rule()}]}]), "orders:read");
    let conditions = rule["state"]["ready"]["authorization"]["allOf"].as_array_mut().unwrap();
    conditions.extend(more.as_array().unwrap().iter().cloned());
    rule
}

fn start(rules: &Value, cors: &Value) -> Fixture {
    Fixture::start_route(rules, Some(&Signer::new()), &json!({ "cors": cors }))
}

fn options(fixture: &Fixture, target: &str, lines: &str) -> (u16, String) {
    let reply = fixture.send(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    let reason = if reply.status < 300 { String::new() } else { reply.json()["reason"].as_str().unwrap().to_owned() };
    (reply.status, reason)
}

#[test]
fn c4_preflight_without_cors_settings_is_403_and_reaches_nobody() {
    let mut refusing = open_rule("closed", "/closed");
    refusing["state"] = json!({"refusing": {"reason": "Closed", "message": "x"}});
    let fixture = start(&json!([closed(&json!([])), open_rule("open", "/open"), refusing]), &json!("refuse"));
    for (target, lines, status, reason) in [
        ("/r", PREFLIGHT.to_owned(), 403, "cors_not_configured"),
        ("/open", PREFLIGHT.to_owned(), 403, "cors_not_configured"),
        ("/closed", PREFLIGHT.to_owned(), 503, "closed"),
        ("/nowhere", PREFLIGHT.to_owned(), 404, "route_not_found"),
        ("/r", PREFLIGHT.replace("GET", "DELETE"), 405, "method_not_allowed"),
        ("/r", format!("{PREFLIGHT}Authorization: Bearer abc\r\n"), 403, "cors_not_configured"),
    ] {
        assert_eq!(options(&fixture, target, &lines), (status, reason.to_owned()), "{target} {lines}");
    }
    let record = fixture.record("cors_not_configured");
    assert_eq!((record["outcome"].as_str(), record["rule"].as_str()), (Some("deny"), Some("r")));
    assert_eq!(fixture.app_log(), Vec::<String>::new());
}

/// What is no preflight is decided like any other request.
#[test]
fn c4_only_a_true_preflight_goes_without_a_token() {
    for cors in ["refuse", "passthrough"] {
        let mut any = closed(&json!([]));
        any["matches"] = json!([{"path": {"prefix": "/r"}, "methods": [], "headers": []}]);
        let fixture = start(&json!([any]), &json!(cors));
        for lines in [
            "Origin: https://app.example.com\r\n".to_owned(),
            "Access-Control-Request-Method: GET\r\n".to_owned(),
            format!("{PREFLIGHT}Access-Control-Request-Method: PUT\r\n"),
            format!("{PREFLIGHT}Origin: https://b.example.com\r\n"),
            PREFLIGHT.replace("https://app.example.com", "https://app.example.com/x"),
            PREFLIGHT.replace("GET", "G E T"),
            PREFLIGHT.replace("GET", "TRACE"),
            format!("{PREFLIGHT}Connection: origin\r\n"),
            format!("{PREFLIGHT}Content-Length: 2\r\n\r\n{{}}"),
            format!("{PREFLIGHT}Transfer-Encoding: chunked\r\n\r\n0\r\n"),
        ] {
            let (status, _) = options(&fixture, "/r", &lines);
            assert!(matches!(status, 400 | 401), "{cors} {lines}: {status}");
        }
        let get = fixture.send(&format!("GET /r HTTP/1.1\r\nHost: a\r\n{PREFLIGHT}\r\n"));
        assert_eq!(get.status, 401);
        assert_eq!(fixture.app_log(), Vec::<String>::new());
    }
}

#[test]
fn c4_passthrough_carries_no_credentials_no_query_and_brings_back_nothing_but_cors_fields() {
    let fixture = start(&json!([closed(&json!([]))]), &json!("passthrough"));
    let more = "Authorization: Bearer abc\r\nDPoP: x\r\nCookie: a=1\r\nX-Api-Key: k\r\nX-Tenant: acme\r\n\
                Access-Control-Request-Headers: authorization\r\nForwarded: for=6.6.6.6\r\nUpgrade: websocket\r\n";
    let reply = fixture.send(&format!("OPTIONS /r/cors?admin=1 HTTP/1.1\r\nHost: a\r\n{PREFLIGHT}{more}\r\n"));
    assert_eq!((reply.status, reply.body.as_str(), reply.rest.as_str()), (200, "", ""));
    assert_eq!(reply.header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(reply.header("vary"), "Origin");
    for gone in ["set-cookie", "x-secret", "content-type", "location"] {
        assert_eq!(reply.header(gone), "", "{gone}");
    }
    let seen = fixture.app_log().pop().unwrap().to_ascii_lowercase();
    assert!(seen.starts_with("options /r/cors http/1.1\r\n"), "{seen}");
    for kept in ["origin: https://app.example.com", "access-control-request-headers: authorization", "host: a\r\n"] {
        assert!(seen.contains(kept), "{kept}: {seen}");
    }
    for gone in ["bearer", "dpop", "cookie", "x-api-key", "x-tenant", "6.6.6.6", "upgrade", "admin", "content-length"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert_eq!(fixture.record("cors_preflight")["outcome"], "permit");
}

#[test]
fn c4_conditions_that_need_no_caller_hold_for_a_preflight_too() {
    let request = |rule: Value| json!([{ "request": rule }]);
    let never = json!([{"hours": {"timeZone": "UTC", "exceptDates": [], "windows": []}}]);
    let of_tenant = json!({
        "methods": [], "pathParameters": [{"name": "x", "test": {"equalsClaim": "$.x"}}],
        "headers": [{"name": "x-tenant", "test": {"in": ["acme"]}}],
    });
    let cedar = json!([{"cedar": {
        "text": "permit(principal, action, resource);", "roles": null, "groups": null, "pathParameters": [],
        "headers": [], "claims": {}, "reads": [],
    }}]);
    for (more, status, reason) in [
        (json!([]), 200, ""),
        (json!([{"addresses": {"allow": ["10.9.9.0/24"], "deny": []}}]), 403, "address_not_allowed"),
        (json!([{"addresses": {"allow": ["127.0.0.1"], "deny": []}}]), 200, ""),
        (never, 403, "outside_hours"),
        (request(json!({"methods": ["GET"], "pathParameters": [], "headers": []})), 200, ""),
        (request(json!({"methods": ["PUT"], "pathParameters": [], "headers": []})), 403, "request_not_allowed"),
        (request(of_tenant), 403, "request_not_allowed"),
        (json!([{"claims": [{"path": "$.level", "test": {"exists": true}}]}]), 200, ""),
        (cedar, 403, "cors_undecidable"),
    ] {
        let fixture = start(&json!([closed(&more)]), &json!("passthrough"));
        assert_eq!(options(&fixture, "/r/cors", PREFLIGHT), (status, reason.to_owned()), "{more}");
        assert_eq!(fixture.app_log().len(), usize::from(status == 200), "{more}");
    }
}

/// Preflights have connections of their own: as many as there are of them take none from the API.
#[test]
fn c4_a_flood_of_preflights_takes_no_connection_from_the_api() {
    let slow = open_rule("slow", "/slow");
    let more = json!({"cors": "passthrough"});
    let fixture = Fixture::start_route(&json!([slow, open_rule("all", "/")]), None, &more);
    let mut held: Vec<_> = (0..40).map(|_| fixture.connect()).collect();
    for client in &mut held {
        client.write(&format!("OPTIONS /slow HTTP/1.1\r\nHost: a\r\n{PREFLIGHT}\r\n"));
    }
    fixture.record("cors_overloaded");
    assert_eq!(fixture.get("/x").status, 200);
    let reached = fixture.app_log().iter().filter(|head| head.starts_with("OPTIONS")).count();
    assert!((1..=8).contains(&reached), "{reached}");
}

fn answering(origins: &Value, credentials: bool) -> Value {
    json!({"answer": {
        "origins": origins, "headers": ["authorization", "x-a"], "exposed": ["ratelimit"], "credentials": credentials,
        "maxAgeSeconds": 600,
    }})
}

/// The answer is the proxy's: nothing of a preflight reaches the application, and no token is asked for.
#[test]
fn a_preflight_is_answered_by_the_proxy_for_listed_origins_and_headers_only() {
    let cors = answering(&json!(["https://app.example.com", "https://*.partner.example"]), true);
    let fixture = start(&json!([closed(&json!([]))]), &cors);
    let ask = |lines: &str| fixture.send(&format!("OPTIONS /r HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    for origin in ["https://app.example.com", "https://a.partner.example"] {
        let headers = "Access-Control-Request-Headers: X-A,authorization\r\n";
        let reply = ask(&format!("Origin: {origin}\r\nAccess-Control-Request-Method: GET\r\n{headers}"));
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, origin));
        assert_eq!(reply.header("access-control-allow-credentials"), "true");
        assert_eq!(reply.header("access-control-allow-methods"), "GET");
        assert_eq!(reply.header("access-control-allow-headers"), "authorization, x-a");
        assert_eq!(reply.header("access-control-max-age"), "600");
        assert!(reply.headers("access-control-expose-headers").is_empty());
        let vary = reply.headers("vary").join(", ");
        assert_eq!(vary, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
    }
    for (lines, status, reason) in [
        (PREFLIGHT.replace("app.", "evil."), 403, "cors_not_allowed"),
        (PREFLIGHT.replace("https://app.example.com", "null"), 403, "cors_not_allowed"),
        (PREFLIGHT.replace("https://app.example.com", "https://partner.example"), 403, "cors_not_allowed"),
        (format!("{PREFLIGHT}Access-Control-Request-Headers: x-b\r\n"), 403, "cors_not_allowed"),
        (PREFLIGHT.replace("GET", "DELETE"), 405, "method_not_allowed"),
    ] {
        let reply = ask(&lines);
        assert_eq!((reply.status, reply.json()["reason"].as_str().unwrap()), (status, reason), "{lines}");
        assert!(reply.headers("access-control-allow-origin").is_empty(), "{lines}");
    }
    assert_eq!(fixture.record("cors_preflight")["outcome"], "permit");
    assert_eq!(fixture.app_log(), Vec::<String>::new());
}

#[test]
fn answers_and_refusals_can_be_read_by_listed_origins_and_say_so_to_caches() {
    let fixture = start(
        &json!([closed(&json!([])), open_rule("open", "/open")]),
        &answering(&json!(["https://app.example.com"]), false),
    );
    let get = |path: &str, origin: &str| fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{origin}\r\n"));
    for (path, status) in [("/r", 401), ("/open", 200)] {
        let reply = get(path, "Origin: https://app.example.com\r\n");
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, "https://app.example.com"));
        assert_eq!((reply.header("access-control-expose-headers"), reply.header("vary")), ("ratelimit", "Origin"));
        assert!(reply.headers("access-control-allow-credentials").is_empty());
        for origin in [
            "",
            "Origin: https://evil.test\r\n",
            "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n",
        ] {
            let reply = get(path, origin);
            assert_eq!((reply.status, reply.header("vary")), (status, "Origin"), "{origin}");
            assert!(reply.headers("access-control-allow-origin").is_empty(), "{origin}");
        }
    }
    let mut bursts = open_rule("bursts", "/bursts");
    let spike = json!({"perClientAddress": {"requests": 1, "per": "minute", "burst": 1}});
    bursts["state"]["ready"]["limits"] =
        json!({"limited": {"policy": "default/p", "spikeArrest": spike, "rateLimits": []}});
    let fixture = start(&json!([bursts]), &answering(&json!(["https://app.example.com"]), false));
    let get = || fixture.send("GET /bursts HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example.com\r\n\r\n");
    for status in [200, 429] {
        let reply = get();
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, "https://app.example.com"));
    }
    let any = start(&json!([open_rule("open", "/open")]), &answering(&json!(["*"]), false));
    let reply = any.send("GET /open HTTP/1.1\r\nHost: a\r\nOrigin: https://whoever.test\r\n\r\n");
    assert_eq!((reply.header("access-control-allow-origin"), reply.headers("vary").len()), ("*", 0));
}
