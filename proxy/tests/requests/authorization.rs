//! What a caller may do, decided by a running proxy.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use serde_json::{Value, json};

use super::bed::{Bed, Reply, Signer, jwt_access, open_rule};

/// A rule below a template that asks for a token and these conditions.
fn guarded(name: &str, template: &str, conditions: &Value) -> Value {
    let mut rule = open_rule(name, "/");
    rule["matches"][0]["path"] = json!({"template": template});
    rule["access"] = jwt_access("unused");
    rule["access"]["guarded"]["authorization"] = json!({"allOf": conditions});
    rule
}

/// An open rule with these conditions.
fn conditional(prefix: &str, conditions: &Value) -> Value {
    let mut rule = open_rule(prefix.trim_start_matches('/'), prefix);
    rule["access"]["guarded"]["authorization"] = json!({"allOf": conditions});
    rule
}

fn ask(bed: &Bed, path: &str, token: &str, more: &str) -> (u16, String) {
    let reply: Reply =
        bed.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n"));
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
    let bed =
        Bed::start_with(&json!([guarded("read", "/tenants/{tenant}/orders", &json!([tenant, clerk]))]), Some(&keys));
    let token = |tenant: Value, roles: Value, level: Value| {
        keys.token_with(&json!({"tenant": tenant, "realm": {"roles": roles}, "level": level}))
    };
    let good = token(json!("acme"), json!(["clerk"]), json!(3));
    assert_eq!(ask(&bed, "/tenants/acme/orders", &good, ""), told(200, ""));
    assert_eq!(ask(&bed, "/tenants/other/orders", &good, ""), told(403, "request_not_allowed"));
    assert_eq!(ask(&bed, "/tenants/%61cme/orders", &good, ""), told(200, ""));
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
        assert_eq!(ask(&bed, "/tenants/acme/orders", &bad, ""), told(403, reason));
    }
    assert_eq!(bed.get("/tenants/acme/orders").status, 401);
    assert_eq!(bed.app_log().len(), 2);
    assert!(bed.record("claim_undecidable")["detail"].as_str().unwrap().contains("another type"));
}

#[test]
fn a_repeated_header_hides_nothing_p9() {
    let shop = json!({"request": {
        "methods": [], "pathParameters": [],
        "headers": [{"name": "x-channel", "test": {"in": ["shop"]}}, {"name": "x-debug", "test": {"exists": false}}],
    }});
    let bed = Bed::start(&json!([conditional("/", &json!([shop]))]));
    let status = |headers: &str| bed.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).status;
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
    let status = |bed: &Bed, header: &str| {
        let reply = bed.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"));
        reply.status
    };
    let bed = Bed::start(&rules);
    for header in ["Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"] {
        assert_eq!(status(&bed, header), 403, "no hop is trusted by default: {header}");
    }
    assert_eq!(bed.record("address_not_allowed")["client_address"], "127.0.0.1");
    let trust = json!({"clientAddress": {"forwarded": {"header": "Forwarded", "trustedProxies": ["127.0.0.1"]}}});
    let bed = Bed::start_route(&rules, None, &trust);
    for (header, expected) in [
        ("Forwarded: for=192.0.2.1", 200),
        ("Forwarded: for=\"[::ffff:192.0.2.1]\"", 200),
        ("Forwarded: for=192.0.2.66", 403),
        ("Forwarded: for=\"[::ffff:192.0.2.66]\"", 403),
        ("Forwarded: for=192.0.2.1, for=198.51.100.1", 403),
        ("Forwarded: for=192.0.2.1;for=192.0.2.1", 403),
        ("X-Forwarded-For: 192.0.2.1", 403),
    ] {
        assert_eq!(status(&bed, header), expected, "{header}");
    }
    let record = bed.record("permitted");
    assert_eq!((&record["client_address"], &record["peer_address"]), (&json!("192.0.2.1"), &json!("127.0.0.1")));
    assert!(bed.app_log().pop().unwrap().contains("forwarded: for=192.0.2.1;"));
}

/// What the record of a decision says of policies on trial.
fn trial(bed: &Bed, reply: &Reply) -> Value {
    bed.record_where("decision_id", reply.header("portreeve-decision-id"))["shadow"].clone()
}

#[test]
fn policies_on_trial_are_recorded_and_counted_and_decide_nothing() {
    let keys = Signer::new();
    let open = json!({"guarded": {"authentication": "anonymous", "authorization": "anyone"}});
    let broken = json!({"refused": {"reason": "InvalidPolicy", "message": "x"}});
    let shadow = |name: &str, access: &Value| json!({"policy": {"name": format!("default/{name}"), "generation": 1}, "access": access});
    let mut read = open_rule("read", "/read");
    read["access"] = jwt_access("orders:read");
    read["shadows"] =
        json!([shadow("open", &open), shadow("strict", &jwt_access("orders:all")), shadow("bad", &broken)]);
    let mut public = open_rule("public", "/public");
    public["shadows"] = json!([shadow("strict", &jwt_access("orders:all"))]);
    let bed = Bed::start_with(&json!([read, public]), Some(&keys));
    let get = |path: &str, token: &str| {
        bed.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"))
    };
    let told = |policy: &str, would: &str, reason: &str| json!({"policy": format!("default/{policy}"), "would": would, "reason": reason});

    let nobody = bed.get("/read");
    assert_eq!(nobody.status, 401, "a laxer policy on trial loosens nothing");
    let open_permits = told("open", "permit", "permitted");
    let bad = told("bad", "deny", "invalid_policy");
    let refused = told("strict", "deny", "no_credentials");
    assert_eq!(trial(&bed, &nobody), json!([open_permits, refused, bad]));

    let caller = get("/read", &keys.token("orders:read", "orders"));
    assert_eq!(caller.status, 200, "a stricter or broken policy on trial refuses nothing");
    let lacking = told("strict", "deny", "insufficient_scope");
    assert_eq!(trial(&bed, &caller), json!([open_permits, lacking, bad]));

    let anybody = bed.get("/public");
    assert_eq!((anybody.status, trial(&bed, &anybody)), (200, json!([refused])));
    let full = get("/public", &keys.token("orders:all", "orders"));
    assert_eq!((full.status, trial(&bed, &full)), (200, json!([told("strict", "permit", "permitted")])));
    assert_eq!(bed.app_log().len(), 3);

    let metrics = bed.admin("/metrics").body;
    for line in [
        r#"outcome="permit",policy="default/open",route="default/orders",rule="read"} 2"#,
        r#"outcome="deny",policy="default/strict",route="default/orders",rule="read"} 2"#,
        r#"outcome="permit",policy="default/strict",route="default/orders",rule="public"} 1"#,
    ] {
        assert!(metrics.contains(&format!("portreeve_proxy_shadow_decisions_total{{{line}")), "{line}");
    }
}

#[test]
fn a_closed_route_answers_503_and_says_nothing_of_why() {
    let mut rule = open_rule("all", "/");
    rule["access"] = json!({"refused": {"reason": "Closed", "message": "closed by annotation: INC-7"}});
    let bed = Bed::start(&json!([rule]));
    let reply = bed.get("/");
    assert_eq!((reply.status, reply.json()["reason"].clone()), (503, json!("closed")));
    assert!(!reply.body.contains("INC-7"), "internals stay inside");
    assert!(bed.record("closed")["detail"].as_str().unwrap().contains("INC-7"));
    assert!(bed.app_log().is_empty());
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
    let bed = Bed::start_with(&rules, Some(&keys));
    let token = |tenant: Value, roles: Value| keys.token_with(&json!({"sub": "ada", "tenant": tenant, "roles": roles}));
    let clerk = token(json!("acme"), json!(["clerk"]));
    for _ in 0..3 {
        assert_eq!(ask(&bed, "/tenants/acme", &clerk, ""), told(200, ""));
        assert_eq!(ask(&bed, "/tenants/other", &clerk, ""), told(403, "cedar_denied"));
    }
    assert_eq!(ask(&bed, "/tenants/acme", &token(json!("acme"), json!([])), ""), told(403, "cedar_denied"));
    assert_eq!(ask(&bed, "/tenants/acme", &token(json!(7), json!(["clerk"])), ""), told(403, "cedar_undecidable"));
    assert_eq!(bed.get("/tenants/acme").status, 401);
    assert_eq!(ask(&bed, "/bad", &clerk, ""), told(503, "invalid_policy"));
    assert_eq!(bed.app_log().len(), 3);
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
    let bed = Bed::start(&json!(rules));
    assert_eq!(bed.get("/always").status, 200);
    let closed = bed.get("/never");
    assert_eq!((closed.status, closed.json()["reason"].clone()), (403, json!("outside_hours")));
}
