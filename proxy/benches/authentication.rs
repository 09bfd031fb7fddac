//! What it costs to find out who calls when that is remembered: `cargo bench -p portreeve-proxy --bench authentication`.
//! Prints nanoseconds for each case, the median and the best of many batches, beside its target.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on shall say so by panicking, and lives in real time"
)]

mod fixture;

use std::{collections::BTreeMap, hint::black_box, net::IpAddr, sync::Arc, time::Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use futures_util::FutureExt;
use http::{HeaderMap, Method, header::AUTHORIZATION};
use portreeve_policy::{CanonicalPath, Hostname, NamespacedName, Secret};
use portreeve_proxy::{
    authn::{
        Authenticators, BuildInputs, CarriedState, CredentialContext, CredentialMemory, Presentation, TokenDigester,
        TokenServiceClient,
    },
    clock::{Clock, SystemClock},
    outbound::Network,
};
use prometheus::Gauge;
use serde_json::{Value, json};

const BATCHES: usize = 51;
const TURNS: u32 = 4000;

fn rule(
    alternative: &Value,
    authorities: &BTreeMap<NamespacedName, Arc<TokenServiceClient>>,
    secret: (&str, String),
) -> Authenticators {
    let secrets = [(secret.0.to_owned().try_into().unwrap(), Secret::new(secret.1.into_bytes()))].into();
    let previous = CarriedState::default();
    let api_key_use = |_: &str, _: &str| Gauge::new("unused", "unused").unwrap();
    let materials =
        BuildInputs { secrets: &secrets, token_services: authorities, previous: &previous, api_key_use: &api_key_use };
    let authentication = serde_json::from_value(json!({"anyOf": [{"allOf": [alternative]}]})).unwrap();
    Authenticators::new(&authentication, &materials, &mut CarriedState::default()).unwrap()
}

/// The whole of authentication, from the header map to the caller; the first turn, which finds out, is not counted.
fn measure(name: &str, target: &str, rule: &Authenticators, headers: &HeaderMap, context: &CredentialContext) {
    let (host, path) = (Hostname::parse("a").unwrap(), CanonicalPath::parse("/orders/7").unwrap());
    let turn = || {
        let client = IpAddr::from([127, 0, 0, 1]);
        let shown = Presentation::new(
            &Method::GET,
            "https",
            &host,
            None,
            &path,
            None,
            headers,
            client,
            SystemClock.now(),
            None,
        )
        .unwrap();
        rule.verify(&shown, context).now_or_never().unwrap().unwrap()
    };
    let mut batches: Vec<u128> = (0..BATCHES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..TURNS {
                black_box(turn());
            }
            began.elapsed().as_nanos() / u128::from(TURNS)
        })
        .collect();
    batches.sort_unstable();
    println!("{name:<44} median {:>6} ns  best {:>6} ns  {target}", batches[BATCHES / 2], batches[0]);
}

fn main() {
    let (name, service) = fixture::token_service();
    let authority =
        TokenServiceClient::new(&name, &service, None, None, Arc::new(SystemClock), &Network::Sockets).unwrap();
    let authorities = [(name, Arc::new(authority))].into();
    let context = CredentialContext {
        memory: Arc::new(CredentialMemory::new(&[1; 32])),
        digester: TokenDigester::new(&[3; 64]),
        clock: Arc::new(SystemClock),
    };
    let with =
        |name: http::HeaderName, value: String| -> HeaderMap { [(name, value.parse().unwrap())].into_iter().collect() };

    let jwt = json!({"jwt": {
        "tokenService": "default/login", "audiences": ["orders"], "tokenType": "accessToken",
        "proof": {"required": [], "dpopNonce": false}, "upstreamToken": "original",
    }});
    let headers = with(AUTHORIZATION, format!("Bearer {}", fixture::token(&json!({}))));
    let nothing = || ("d/n#n", String::new());
    measure("signed token, remembered", "(target 700 ns)", &rule(&jwt, &authorities, nothing()), &headers, &context);

    let hash = bcrypt::hash("s3cret", 4).unwrap();
    let basic = json!({"basic": {"realm": "a", "users": "d/team#users", "upstreamToken": "none"}});
    let headers = with(AUTHORIZATION, format!("Basic {}", STANDARD.encode("ann:s3cret")));
    let basic = rule(&basic, &authorities, ("d/team#users", format!("ann:{hash}")));
    // The slow hash runs beside the workers, so that the first turn needs a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (host, path) = (Hostname::parse("a").unwrap(), CanonicalPath::parse("/").unwrap());
    let client = IpAddr::from([127, 0, 0, 1]);
    let shown =
        Presentation::new(&Method::GET, "https", &host, None, &path, None, &headers, client, SystemClock.now(), None)
            .unwrap();
    assert!(runtime.block_on(basic.verify(&shown, &context)).is_ok());
    measure("user and password, remembered", "(target 1,000 ns)", &basic, &headers, &context);

    let api_key = "prk_k3y0_0123456789abcdefghij";
    let stored = digest(&SHA256, &[&[7; 16], api_key.as_bytes()].concat());
    let (salt, stored) = (URL_SAFE_NO_PAD.encode([7; 16]), URL_SAFE_NO_PAD.encode(stored.as_ref()));
    let keys = json!({"apiKey": {
        "source": {"digests": ["d/keys#keys"]}, "location": {"header": "x-api-key"}, "upstreamToken": "none",
    }});
    let keys = rule(&keys, &authorities, ("d/keys#keys", format!("acme k3y0 sha256 {salt} {stored}")));
    let headers = with(http::HeaderName::from_static("x-api-key"), api_key.to_owned());
    measure("API key", "", &keys, &headers, &context);
}
