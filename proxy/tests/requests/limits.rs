//! Limits through a running proxy: who is counted, what is told, and what costs nothing.

#![expect(clippy::disallowed_methods, reason = "a dry run is evaluated beside the exchange, in real time")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, Signer, jwt_access, open_rule};

fn limited(spike: &Value, rate_limits: &Value) -> Value {
    json!({"limited": {"policy": "default/p", "spikeArrest": spike, "rateLimits": rate_limits}})
}

fn rate(requests: u64, per: &str, burst: u64) -> Value {
    json!({"requests": requests, "per": per, "burst": burst})
}

fn with_limits(mut rule: Value, limits: &Value) -> Value {
    if let Some(place) = rule.pointer_mut("/state/ready/limits") {
        *place = limits.clone();
    }
    rule
}

fn get(fixture: &Fixture, path: &str, token: Option<&str>) -> Reply {
    let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    fixture.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n"))
}

#[test]
fn an_application_is_limited_with_all_its_users_and_no_other_is() {
    let signer = Signer::new();
    let mut rule = open_rule("read", "/read");
    rule["state"] = jwt_access("orders:read");
    let limit = json!([{"name": "per-application", "key": ["application"], "absentKey": "refuse", "rates": [rate(3, "hour", 3)]}]);
    let fixture = Fixture::start_with(&json!([with_limits(rule, &limited(&json!("none"), &limit))]), Some(&signer));
    let of =
        |sub: &str, client: &str| signer.token_with(&json!({"sub": sub, "client_id": client, "scope": "orders:read"}));
    // What is refused for another reason is not counted.
    let unscoped = signer.token_with(&json!({"sub": "ann", "client_id": "app", "scope": "other"}));
    for _ in 0..5 {
        assert_eq!(get(&fixture, "/read", None).status, 401);
        assert_eq!(get(&fixture, "/read", Some(&unscoped)).status, 403);
        assert_eq!(get(&fixture, "/elsewhere", Some(&of("ann", "app"))).status, 404);
    }
    let first = get(&fixture, "/read", Some(&of("ann", "app")));
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"per-application\";q=3;w=3600"));
    assert_eq!(first.header("ratelimit"), "\"per-application\";r=2;t=1200");
    let statuses: Vec<_> = ["bob", "ann", "bob"].map(|sub| get(&fixture, "/read", Some(&of(sub, "app"))).status).into();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(get(&fixture, "/read", Some(&of("ann", "other"))).status, 200);
    let refused = get(&fixture, "/read", Some(&of("ann", "app")));
    assert_eq!((refused.status, refused.json()["reason"].clone()), (429, json!("rate_limited")));
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1100..=1200).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").starts_with("\"per-application\";r=0;t="), "{}", refused.header("ratelimit"));
    assert_eq!(fixture.record("rate_limited")["detail"], "limit per-application");
    assert_eq!(fixture.app_log().len(), 4, "what was refused never reached the application");
}

#[test]
fn a_spike_is_refused_before_any_credential_is_looked_at() {
    let signer = Signer::new();
    let (mut read, mut free) = (open_rule("read", "/read"), open_rule("free", "/free"));
    read["state"] = jwt_access("orders:read");
    free["state"] = jwt_access("orders:read");
    let spike = limited(&json!({"perClientAddress": rate(1, "minute", 4)}), &json!([]));
    let fixture = Fixture::start_with(&json!([with_limits(read, &spike), free]), Some(&signer));
    let statuses: Vec<_> = (0..6).map(|_| get(&fixture, "/read", None).status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
    let refused = get(&fixture, "/read", None);
    assert_eq!(refused.json()["reason"], "spike_arrested");
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    assert!(refused.headers("ratelimit").is_empty() && refused.headers("www-authenticate").is_empty());
    assert_eq!(get(&fixture, "/free", None).status, 401, "another rule has no such limit");
    let preflight =
        "OPTIONS /read HTTP/1.1\r\nHost: a\r\nOrigin: https://b.test\r\nAccess-Control-Request-Method: GET\r\n\r\n";
    assert_eq!(fixture.send(preflight).status, 429, "preflights come in bursts too");
}

#[test]
fn rules_of_one_policy_are_counted_together_and_a_dry_run_counts_apart() {
    let limit = |name: &str| json!([{"name": name, "key": ["clientAddress"], "absentKey": "refuse", "rates": [rate(4, "hour", 4)]}]);
    let limits = limited(&json!("none"), &limit("address"));
    let (one, two) = (open_rule("one", "/one"), open_rule("two", "/two"));
    let mut dry = open_rule("dry", "/dry");
    let mut tight = limited(&json!("none"), &limit("address"));
    tight["limited"]["rateLimits"][0]["rates"] = json!([rate(1, "hour", 1)]);
    dry["shadows"] = json!([{"policy": {"name": "default/p", "generation": 1}, "state":
        {"ready": {"authentication": "anonymous", "authorization": "anyone", "limits": tight}}}]);
    let fixture = Fixture::start_with(&json!([with_limits(one, &limits), with_limits(two, &limits), dry]), None);
    let statuses: Vec<_> =
        ["/one", "/two", "/one", "/two", "/one", "/two"].map(|path| get(&fixture, path, None).status).into();
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    assert_eq!([get(&fixture, "/dry", None).status, get(&fixture, "/dry", None).status], [200, 200]);
    // A dry run is evaluated beside the exchange.
    let counted = |outcome: &str| {
        let metrics = fixture.admin("/metrics").body;
        metrics.contains(&format!("shadow_decisions_total{{outcome=\"{outcome}\",policy=\"default/p\"")) && {
            let line = metrics.lines().find(|line| line.contains(&format!("outcome=\"{outcome}\",policy"))).unwrap();
            line.ends_with(" 1")
        }
    };
    let begin = Instant::now();
    while !(counted("permit") && counted("deny")) {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", get(&fixture, "/dry", None).status);
    }
}
