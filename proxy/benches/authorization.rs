//! What a decision costs when the caller's facts are remembered: `cargo bench -p portreeve-proxy --bench authorization`.
//! Prints nanoseconds for each case, the median and the best of many batches, beside its target.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on shall say so by panicking, and lives in real time"
)]

mod fixture;

use std::{hint::black_box, sync::Arc, time::Instant};

use futures_util::FutureExt;
use http::HeaderMap;
use portreeve_policy::{Authorization, CanonicalPath, PathMatch};
use portreeve_proxy::{
    authn::{TokenDigester, TokenServiceClient, VerifiedCredential},
    authz::{AuthorizationInput, Authorizer, PathParameters},
    clock::{SystemClock, UnixMillis},
    limits::{LimitTables, Limiter},
    outbound::Network,
};
use serde_json::{Value, json};

const BATCHES: usize = 51;
const TURNS: u32 = 4000;

/// A verified token of a clerk, as the token cache holds it.
fn credential() -> Arc<VerifiedCredential> {
    let token = fixture::token(&json!({"roles": ["clerk", "auditor"], "level": 3}));
    let digest = TokenDigester::new(&[3; 64]).digest(&token);
    let (name, service) = fixture::token_service();
    let authority =
        TokenServiceClient::new(&name, &service, None, None, Arc::new(SystemClock), &Network::Sockets).unwrap();
    authority.verify(&token, digest).unwrap().0
}

fn cedar(text: &str, reads: &Value) -> Value {
    json!({"cedar": {
        "text": text, "roles": "$.roles", "groups": null, "pathParameters": [], "headers": [], "reads": reads,
        "claims": {"tenant": {"path": "$.tenant", "kind": "String", "optional": false}},
    }})
}

fn authorizer(conditions: &Value) -> Authorizer {
    let authorization: Authorization = serde_json::from_value(json!({"allOf": conditions})).unwrap();
    Authorizer::new(&authorization, ("shop/orders", "read"), &Network::Sockets).unwrap()
}

fn measure(name: &str, target: &str, mut turn: impl FnMut()) {
    let mut batches: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            (0..TURNS).for_each(|_| turn());
            start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("{name:<62} median {:>7.0} ns   best {:>7.0} ns   target {target}", batches[BATCHES / 2], batches[0]);
}

#[expect(clippy::too_many_lines, reason = "one table")]
fn main() {
    let credential = credential();
    let path = CanonicalPath::parse("/orders/7").unwrap();
    let template = PathMatch::Template("/orders/{id}".to_owned().try_into().unwrap());
    let headers = HeaderMap::new();
    let asked = AuthorizationInput {
        caller: Some(&credential),
        address: "10.1.2.3".parse().ok(),
        tls: Some(true),
        method: "GET",
        host: Some("orders.example.com"),
        path: path.as_str(),
        parameters: PathParameters::new(&path, Some(&template)),
        headers: &headers,
        now: UnixMillis(1_795_392_000_000),
    };
    let timed = r#"permit(principal in Role::"clerk", action == Action::"GET", resource) when {
        principal.tenant == "acme" && context.tls && context.address.isInRange(ip("10.0.0.0/8")) &&
        context.time < datetime("2030-01-01") };"#;
    let untimed = r#"permit(principal in Role::"clerk", action == Action::"GET", resource) when {
        principal.tenant == "acme" && context.tls && context.address.isInRange(ip("10.0.0.0/8")) &&
        context.host == "orders.example.com" };"#;
    let claims = json!([
        {"path": "$.tenant", "test": {"in": ["acme"]}}, {"path": "$.roles", "test": {"containsAnyOf": ["clerk"]}},
    ]);
    let elsewhere: Vec<_> =
        (0..1000).map(|_| authorizer(&json!([cedar(timed, &json!(["address", "time", "tls"]))]))).collect();
    for (name, target, conditions) in [
        ("scopes", "-", json!([{"scopes": {"allOf": ["orders:read"], "anyOf": []}}])),
        ("claims: tenant and roles by JSONPath", "-", json!([{ "claims": claims }])),
        ("addresses", "-", json!([{"addresses": {"allow": ["10.0.0.0/8"], "deny": ["10.9.0.0/16"]}}])),
        (
            "hours",
            "-",
            json!([{"hours": {
                "timeZone": "Europe/Vienna", "exceptDates": [],
                "windows": [{"weekdays": [], "from": "00:00", "to": "24:00"}],
            }}]),
        ),
        (
            "Cedar: roles, tenant, address, time, tls, decided anew",
            "<= 4000 ns",
            json!([cedar(timed, &json!(["address", "time", "tls"]))]),
        ),
        (
            "Cedar: roles, tenant, address, host, tls, remembered",
            "<= 300 ns",
            json!([cedar(untimed, &json!(["address", "host", "tls"]))]),
        ),
    ] {
        let authorizer = authorizer(&conditions);
        measure(name, target, || {
            black_box(authorizer.authorize(black_box(&asked)).now_or_never().unwrap().unwrap());
        });
    }
    for (name, key) in [("application", json!(["application"])), ("address", json!(["clientAddress"]))] {
        let rates = json!([{"requests": 1_000_000, "per": "second", "burst": 1_000_000}]);
        let limit = json!([{"name": "n", "key": key, "absentKey": "refuse", "rates": rates}]);
        let limits = json!({"limited": {"policy": "shop/p", "spikeArrest": "none", "rateLimits": limit}});
        let limits = serde_json::from_value(limits).unwrap();
        let limiter = Limiter::new(&limits, &LimitTables::default(), &mut LimitTables::default());
        let mut now = asked.now;
        measure(&format!("rate limit by {name}, with headers"), "<= 300 ns", || {
            now.0 += 1;
            black_box(limiter.admit(black_box(&AuthorizationInput { now, ..asked.clone() })).is_ok());
        });
    }
    // Another client each time, so that nothing is ever remembered.
    let authorizer = authorizer(&json!([cedar(untimed, &json!(["address", "host", "tls"]))]));
    let mut client = 0x0a00_0000_u32;
    measure("Cedar: roles, tenant, address, host, tls, decided anew", "<= 4000 ns", || {
        client += 1;
        let asked = AuthorizationInput { address: Some(std::net::Ipv4Addr::from(client).into()), ..asked.clone() };
        black_box(authorizer.authorize(black_box(&asked)).now_or_never().unwrap().unwrap());
    });
    println!("{} rules with Cedar policies stood beside, and were never looked at", elsewhere.len());
}
