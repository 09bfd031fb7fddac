//! What a caller may do, decided by a running proxy.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::fixture::{Fixture, Reply, Signer, jwt_access, open_rule};

/// A rule below a template that asks for a token and these conditions.
fn guarded(name: &str, template: &str, conditions: &Value) -> Value {
    let mut rule = open_rule(name, "/");
    rule["matches"][0]["path"] = json!({"template": template});
    rule["state"] = jwt_access("unused");
    rule["state"]["ready"]["authorization"] = json!({"allOf": conditions});
    rule
}

/// An open rule with these conditions.
fn conditional(prefix: &str, conditions: &Value) -> Value {
    let mut rule = open_rule(prefix.trim_start_matches('/'), prefix);
    rule["state"]["ready"]["authorization"] = json!({"allOf": conditions});
    rule
}

fn ask(fixture: &Fixture, path: &str, token: &str, more: &str) -> (u16, String) {
    let reply: Reply =
        fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n"));
    let reason = if reply.status == 200 { String::new() } else { reply.json()["reason"].as_str().unwrap().to_owned() };
    (reply.status, reason)
}

fn told(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[test]
fn claims_and_path_parameters_decide_and_no_type_is_bent() {
    let keys = Signer::new();
    let tenant = json!({"request": {
        "methods": ["GET"], "headers": [],
        "pathParameters": [{"name": "tenant", "test": {"equalsClaim": "$.tenant"}}],
    }});
    let clerk = json!({"claims": [
        {"path": "$.realm.roles", "test": {"containsAnyOf": ["clerk"]}},
        {"path": "$.level", "test": {"range": {"atLeast": 3}}},
    ]});
    let fixture = Fixture::start_with(
        &json!([guarded("read", "/tenants/{tenant}/orders", &json!([tenant, clerk]))]),
        Some(&keys),
    );
    let token = |tenant: Value, roles: Value, level: Value| {
        keys.token_with(&json!({"tenant": tenant, "realm": {"roles": roles}, "level": level}))
    };
    let good = token(json!("acme"), json!(["clerk"]), json!(3));
    assert_eq!(ask(&fixture, "/tenants/acme/orders", &good, ""), told(200, ""));
    assert_eq!(ask(&fixture, "/tenants/other/orders", &good, ""), told(403, "request_not_allowed"));
    assert_eq!(ask(&fixture, "/tenants/%61cme/orders", &good, ""), told(200, ""));
    for (tenant, roles, level, reason) in [
        (json!("acme"), json!(["auditor"]), json!(3), "claim_not_satisfied"),
        (json!("acme"), json!([{"clerk": true}]), json!(3), "claim_undecidable"),
        (json!("acme"), json!(["clerk"]), json!(2), "claim_not_satisfied"),
        (json!("acme"), json!(["clerk"]), json!("3"), "claim_undecidable"),
        (json!("acme"), json!(["clerk"]), json!(-1e300), "claim_not_satisfied"),
        (json!(["acme"]), json!(["clerk"]), json!(3), "request_undecidable"),
        (json!(null), json!(["clerk"]), json!(3), "request_undecidable"),
    ] {
        let bad = token(tenant, roles, level);
        assert_eq!(ask(&fixture, "/tenants/acme/orders", &bad, ""), told(403, reason));
    }
    assert_eq!(fixture.get("/tenants/acme/orders").status, 401);
    assert_eq!(fixture.app_log().len(), 2);
    assert!(fixture.record("claim_undecidable")["detail"].as_str().unwrap().contains("another type"));
}

#[test]
fn a_repeated_header_hides_nothing_p9() {
    let shop = json!({"request": {
        "methods": [], "pathParameters": [],
        "headers": [{"name": "x-channel", "test": {"in": ["shop"]}}, {"name": "x-debug", "test": {"exists": false}}],
    }});
    let fixture = Fixture::start(&json!([conditional("/", &json!([shop]))]));
    let status = |headers: &str| fixture.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).status;
    for (headers, expected) in [
        ("X-Channel: shop\r\n", 200),
        ("X-Channel: shop\r\nx-channel: shop\r\n", 200),
        ("", 403),
        ("X-Channel: shop\r\nX-Channel: admin\r\n", 403),
        ("X-Channel: admin\r\nX-Channel: shop\r\n", 403),
        ("X-Channel: shop, admin\r\n", 403),
        ("X-Channel: shop\r\nX-Debug:\r\n", 403),
    ] {
        assert_eq!(status(headers), expected, "{headers:?}");
    }
}

#[test]
fn forged_forwarding_headers_change_no_address_decision_h4() {
    let office = json!({"addresses": {"allow": ["192.0.2.0/24"], "deny": ["192.0.2.66"]}});
    let rules = json!([conditional("/", &json!([office]))]);
    let status = |fixture: &Fixture, header: &str| {
        let reply = fixture.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"));
        reply.status
    };
    let fixture = Fixture::start(&rules);
    for header in ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"] {
        assert_eq!(status(&fixture, header), 403, "no hop is trusted by default: {header}");
    }
    assert_eq!(fixture.record("address_not_allowed")["client_address"], "127.0.0.1");
    let trust = json!({"clientAddress": {"forwarded": {"header": "Forwarded", "trustedProxies": ["127.0.0.1"]}}});
    let fixture = Fixture::start_route(&rules, None, &trust);
    for (header, expected) in [
        ("Forwarded: for=192.0.2.1", 200),
        ("Forwarded: for=\"[::ffff:192.0.2.1]\"", 200),
        ("Forwarded: for=192.0.2.66", 403),
        ("Forwarded: for=\"[::ffff:192.0.2.66]\"", 403),
        ("Forwarded: for=192.0.2.1, for=198.51.100.1", 403),
        ("Forwarded: for=192.0.2.1;for=192.0.2.1", 403),
        ("X-Forwarded-For: 192.0.2.1", 403),
    ] {
        assert_eq!(status(&fixture, header), expected, "{header}");
    }
    let record = fixture.record("permitted");
    assert_eq!((&record["client_address"], &record["peer_address"]), (&json!("192.0.2.1"), &json!("127.0.0.1")));
    assert!(fixture.app_log().pop().unwrap().contains("forwarded: for=192.0.2.1;"));
}

/// What the record of a decision says of policies in dry run.
fn dry_runs(fixture: &Fixture, reply: &Reply) -> Value {
    fixture.record_where("decision_id", reply.header("portreeve-decision-id"))["shadow"].clone()
}

#[test]
fn policies_in_dry_run_are_recorded_and_counted_and_decide_nothing() {
    let keys = Signer::new();
    let open = json!({"ready": {"limits": "none", "authentication": "anonymous", "authorization": "anyone"}});
    let broken = json!({"refusing": {"reason": "InvalidPolicy", "message": "x"}});
    let shadow = |name: &str, access: &Value| json!({"policy": {"name": format!("default/{name}"), "generation": 1}, "state": access});
    let mut read = open_rule("read", "/read");
    read["state"] = jwt_access("orders:read");
    read["shadows"] =
        json!([shadow("open", &open), shadow("strict", &jwt_access("orders:all")), shadow("bad", &broken)]);
    let mut public = open_rule("public", "/public");
    public["shadows"] = json!([shadow("strict", &jwt_access("orders:all"))]);
    let fixture = Fixture::start_with(&json!([read, public]), Some(&keys));
    let get = |path: &str, token: &str| {
        fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
    };
    let told = |policy: &str, would: &str, reason: &str| json!({"policy": format!("default/{policy}"), "would": would, "reason": reason});

    let nobody = fixture.get("/read");
    assert_eq!(nobody.status, 401, "a laxer policy in dry run loosens nothing");
    let open_permits = told("open", "permit", "permitted");
    let bad = told("bad", "deny", "invalid_policy");
    let refused = told("strict", "deny", "no_credentials");
    assert_eq!(dry_runs(&fixture, &nobody), json!([open_permits, refused, bad]));

    let caller = get("/read", &keys.token("orders:read", "orders"));
    assert_eq!(caller.status, 200, "a stricter or broken policy in dry run refuses nothing");
    let lacking = told("strict", "deny", "insufficient_scope");
    assert_eq!(dry_runs(&fixture, &caller), json!([open_permits, lacking, bad]));

    let anybody = fixture.get("/public");
    assert_eq!((anybody.status, dry_runs(&fixture, &anybody)), (200, json!([refused])));
    let full = get("/public", &keys.token("orders:all", "orders"));
    assert_eq!((full.status, dry_runs(&fixture, &full)), (200, json!([told("strict", "permit", "permitted")])));
    assert_eq!(fixture.app_log().len(), 3);

    let metrics = fixture.admin("/metrics").body;
    for line in [
        r#"outcome="permit",policy="default/open",route="default/orders",rule="read"} 2"#,
        r#"outcome="deny",policy="default/strict",route="default/orders",rule="read"} 2"#,
        r#"outcome="permit",policy="default/strict",route="default/orders",rule="public"} 1"#,
    ] {
        assert!(metrics.contains(&format!("portreeve_proxy_shadow_decisions_total{{{line}")), "{line}");
    }
}

/// A dry run that hangs, and more of them than are evaluated at a time, cost the exchange nothing.
#[test]
fn m2_a_policy_in_dry_run_is_never_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut hanging = external("AuthZen", silent.local_addr().unwrap().port(), "Deny");
    hanging[0]["external"]["timeout"] = json!(60_000);
    let keys = Signer::new();
    let mut access = jwt_access("unused");
    access["ready"]["authorization"] = json!({ "allOf": hanging });
    let shadow = |name: &str, access: &Value| json!({"policy": {"name": format!("default/{name}"), "generation": 1}, "state": access});
    let mut rule = open_rule("all", "/");
    rule["timeout"] = json!(2000);
    rule["shadows"] = json!([shadow("strict", &jwt_access("orders:all")), shadow("slow", &access)]);
    let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
    let request =
        format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", keys.token("orders:read", "orders"));
    let start = std::time::Instant::now();
    let reply = fixture.send(&request);
    assert_eq!(reply.status, 200);
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
    for _ in 0..80 {
        let mut client = fixture.connect();
        client.write(&request);
        client.read_until("hello");
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(4), "{:?}", start.elapsed());
    let told = |policy: &str, would: &str, reason: &str| json!({"policy": format!("default/{policy}"), "would": would, "reason": reason});
    let first = json!([told("strict", "deny", "insufficient_scope"), told("slow", "unknown", "dry_run_timeout")]);
    assert_eq!(dry_runs(&fixture, &reply), first, "one record, with what became of the dry runs");
    let metrics = fixture.admin("/metrics").body;
    assert!(metrics.contains(r#"outcome="unknown",policy="default/slow""#), "{metrics}");
    assert_eq!(fixture.app_log().len(), 81);
}

#[test]
fn a_closed_route_answers_503_and_says_nothing_of_why() {
    let mut rule = open_rule("all", "/");
    rule["state"] = json!({"refusing": {"reason": "Closed", "message": "closed by annotation: INC-7"}});
    let fixture = Fixture::start(&json!([rule]));
    let reply = fixture.get("/");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("closed")));
    assert!(!reply.body.contains("INC-7"), "internals stay inside");
    assert!(fixture.record("closed")["detail"].as_str().unwrap().contains("INC-7"));
    assert!(fixture.app_log().is_empty());
}

#[test]
fn cedar_policies_decide_and_a_text_that_cannot_be_read_closes_only_its_own_route() {
    let keys = Signer::new();
    let rule = |text: &str| {
        json!([{"cedar": {
            "text": text, "roles": "$.roles", "groups": null, "pathParameters": ["tenant"], "headers": [],
            "claims": {"tenant": {"path": "$.tenant", "kind": "String", "optional": false}},
            "reads": ["address", "resource"],
        }}])
    };
    let good = r#"permit(principal in Role::"clerk", action == Action::"GET", resource) when {
        context.address.isLoopback() && resource.parameters has tenant &&
        resource.parameters.tenant == principal.tenant };"#;
    let rules = json!([guarded("good", "/tenants/{tenant}", &rule(good)), guarded("bad", "/bad", &rule("permit("))]);
    let fixture = Fixture::start_with(&rules, Some(&keys));
    let token = |tenant: Value, roles: Value| keys.token_with(&json!({"sub": "ada", "tenant": tenant, "roles": roles}));
    let clerk = token(json!("acme"), json!(["clerk"]));
    for _ in 0..3 {
        assert_eq!(ask(&fixture, "/tenants/acme", &clerk, ""), told(200, ""));
        assert_eq!(ask(&fixture, "/tenants/other", &clerk, ""), told(403, "cedar_denied"));
    }
    assert_eq!(ask(&fixture, "/tenants/acme", &token(json!("acme"), json!([])), ""), told(403, "cedar_denied"));
    assert_eq!(ask(&fixture, "/tenants/acme", &token(json!(7), json!(["clerk"])), ""), told(403, "cedar_undecidable"));
    assert_eq!(fixture.get("/tenants/acme").status, 401);
    assert_eq!(ask(&fixture, "/bad", &clerk, ""), told(503, "invalid_policy"));
    assert_eq!(fixture.app_log().len(), 3);
}

/// A decision point whose answer to each question is made by `answer` from the question and its number. A test's own
/// stand-in: it speaks HTTP and JSON, and decides nothing that a real one would.
fn decision_point(answer: impl Fn(usize, &Value) -> String + Send + Sync + 'static) -> (u16, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
            std::thread::spawn(move || answer_once(stream.unwrap(), &noted, answer.as_ref()));
        }
    });
    (port, asked)
}

fn answer_once(stream: TcpStream, asked: &Mutex<Vec<Value>>, answer: &dyn Fn(usize, &Value) -> String) {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        length = lower.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    if length == 0 || stream.read_exact(&mut body).is_err() {
        return;
    }
    let question: Value = serde_json::from_slice(&body).unwrap();
    let number = {
        let mut asked = asked.lock().unwrap();
        asked.push(question.clone());
        asked.len() - 1
    };
    drop(stream.get_mut().write_all(answer(number, &question).as_bytes()));
}

fn http(body: &Value, more: &str) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
    )
}

fn external(protocol: &str, port: u16, failure_mode: &str) -> Value {
    json!([{"external": {
        "protocol": protocol, "endpoint": format!("http://127.0.0.1:{port}/decide"), "caCertificates": "",
        "addresses": "PrivateAndPublic", "timeout": 600, "failureMode": failure_mode,
        "claims": {"tenant": "$.tenant"}, "headers": ["x-channel"], "upstreamHeaders": ["x-row-filter"],
    }}])
}

#[test]
fn a_decision_point_is_told_what_the_policy_names_and_its_answer_counts_as_long_as_it_says() {
    let (port, asked) = decision_point(|_, question| {
        let permits = question["subject"]["properties"]["claims"]["tenant"] == "acme";
        let headers = json!({"X-Row-Filter": "own", "Authorization": "Bearer stolen", "X-Other": "x"});
        http(&json!({"decision": permits, "context": {"headers": headers}}), "Cache-Control: max-age=60\r\n")
    });
    let keys = Signer::new();
    let rule = guarded("read", "/tenants/{tenant}", &external("AuthZen", port, "Deny"));
    let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
    let token = |tenant: &str| keys.token_with(&json!({"sub": "ada", "client_id": "shop", "tenant": tenant, "x": 1}));
    assert_eq!(fixture.get("/tenants/acme").status, 401);
    let acme = token("acme");
    for _ in 0..3 {
        assert_eq!(ask(&fixture, "/tenants/acme", &acme, ""), told(200, ""));
    }
    assert_eq!(ask(&fixture, "/tenants/acme", &token("other"), ""), told(403, "decision_point_denied"));
    assert_eq!(ask(&fixture, "/tenants/acme", &acme, "X-Channel: shop\r\n"), told(200, ""));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3, "one question for each set of attributes");
    assert_eq!(
        asked[0],
        json!({
            "subject": {"type": "user", "id": "ada", "properties": {
                "issuer": "https://login.example.com", "client_id": "shop", "claims": {"tenant": "acme"},
            }},
            "action": {"name": "GET"},
            "resource": {"type": "rule", "id": "default/orders/read", "properties": {
                "host": "a", "path": "/tenants/acme", "parameters": {"tenant": "acme"},
            }},
            "context": {"address": "127.0.0.1", "tls": false, "headers": {}},
        })
    );
    assert_eq!(asked[2]["context"]["headers"], json!({"x-channel": ["shop"]}));
    let seen = fixture.app_log().pop().unwrap().to_ascii_lowercase();
    assert!(seen.contains("x-row-filter: own") && !seen.contains("stolen") && !seen.contains("x-other"), "{seen}");
}

#[test]
fn no_usable_answer_refuses_unless_the_policy_says_otherwise_h3() {
    let answers = || {
        decision_point(|number, _| match number {
            0 => http(&json!({"result": {"allow": "yes"}}), ""),
            1 => "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned(),
            2 => "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            3 => "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n{\"result\":true}".to_owned(),
            4 => {
                std::thread::park_timeout(std::time::Duration::from_secs(2));
                String::new()
            }
            _ => http(&json!({"result": true}), ""),
        })
    };
    let keys = Signer::new();
    let token = keys.token_with(&json!({"sub": "ada"}));
    for (mode, reply) in [("Deny", told(503, "decision_point_unavailable")), ("Permit", told(200, ""))] {
        let (port, asked) = answers();
        let rule = guarded("read", "/orders", &external("Opa", port, mode));
        let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
        for number in 0..5 {
            assert_eq!(ask(&fixture, "/orders", &token, ""), reply, "{mode} {number}");
        }
        assert_eq!(ask(&fixture, "/orders", &token, ""), told(200, ""), "{mode}: faults are not remembered");
        let forged = "X-Row-Filter: forged\r\n";
        assert_eq!(ask(&fixture, "/orders", &token, forged), told(200, ""));
        assert!(!fixture.app_log().pop().unwrap().contains("forged"), "H3: nobody but the decision point sets it");
        assert_eq!(asked.lock().unwrap()[0]["input"]["subject"]["id"], "ada");
        if mode == "Permit" {
            assert!(fixture.record("permitted")["detail"].as_str().unwrap().contains("failureMode"));
        }
    }
    let gone = guarded("read", "/orders", &external("AuthZen", 9, "Deny"));
    let fixture = Fixture::start_with(&json!([gone]), Some(&keys));
    assert_eq!(ask(&fixture, "/orders", &token, ""), told(503, "decision_point_unavailable"));
}

#[test]
fn an_obligation_that_nobody_discharges_refuses() {
    let (port, asked) = decision_point(|number, _| {
        let name = if number == 0 { "X-Row-Filter" } else { "X-Else" };
        let obligation = json!({"Id": "o", "AttributeAssignment": [{"AttributeId": name, "Value": "own"}]});
        http(&json!({"Response": [{"Decision": "Permit", "Obligations": [obligation]}]}), "")
    });
    let keys = Signer::new();
    let rule = guarded("read", "/orders", &external("Xacml", port, "Deny"));
    let fixture = Fixture::start_with(&json!([rule]), Some(&keys));
    let token = keys.token_with(&json!({"sub": "ada", "tenant": "acme"}));
    assert_eq!(ask(&fixture, "/orders", &token, ""), told(200, ""));
    assert!(fixture.app_log().pop().unwrap().contains("x-row-filter: own"));
    assert_eq!(ask(&fixture, "/orders", &token, ""), told(403, "obligation_unknown"));
    let first = asked.lock().unwrap()[0]["Request"].clone();
    assert_eq!(first["AccessSubject"][0]["Attribute"][0]["Value"], "ada");
    assert_eq!(first["Action"][0]["Attribute"][0]["Value"], "GET");
}

#[test]
fn hours_close_a_rule_by_the_clock() {
    let window = |from: &str, to: &str| {
        json!({"hours": {
            "timeZone": "Asia/Tokyo", "exceptDates": [], "windows": [{"weekdays": [], "from": from, "to": to}],
        }})
    };
    let mut never = window("00:00", "24:00");
    never["hours"]["windows"] = json!([]);
    let rules = [conditional("/always", &json!([window("00:00", "24:00")])), conditional("/never", &json!([never]))];
    let fixture = Fixture::start(&json!(rules));
    assert_eq!(fixture.get("/always").status, 200);
    let closed = fixture.get("/never");
    assert_eq!((closed.status, closed.json()["reason"].clone()), (403, json!("outside_hours")));
}
