//! Cached and uncached verdicts agree, and so does what goes upstream for them (H1, I1, I2, I3, J9, B8): a million draws
//! over token services, clients, rules and tokens, sixty-four at a time, against verifiers that have never seen a token
//! before.

use std::{collections::BTreeMap, convert::Infallible, net::IpAddr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portreeve_policy::{CanonicalPath, Hostname, Secret};
use prometheus::Gauge;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{
    authn::{
        TokenServiceClient,
        signed_tokens::{key_set, sign},
    },
    clock::{Clock, SystemClock},
    outbound::Network,
};

const DRAWS: u64 = 1_000_000;
const TASKS: u64 = 64;

/// What a service says of a token: who asks decides what is told, as RFC 7662 section 4 allows.
fn told(client: &str, token: &str) -> Value {
    let number: u64 = token.trim_start_matches("op-").parse().unwrap_or(0);
    let active = match client {
        "gw-a" => !number.is_multiple_of(3),
        "gw-a2" => number.is_multiple_of(2),
        _ => number.is_multiple_of(5),
    };
    let audience = if number.is_multiple_of(4) { "x" } else { "y" };
    json!({"active": active, "aud": audience, "sub": format!("{client}/{token}"), "exp": 4_000_000_000_u64})
}

async fn endpoint() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let form: BTreeMap<String, String> = String::from_utf8_lossy(&body)
                    .split('&')
                    .filter_map(|pair| pair.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                let answer = told(&form["client_id"], &form["token"]).to_string();
                let answer =
                    Response::builder().header("content-type", "application/json").body(Full::<Bytes>::from(answer));
                Ok::<_, Infallible>(answer.unwrap())
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await.is_ok() }));
        }
    }));
    port
}

fn tokens() -> Vec<String> {
    let mut tokens: Vec<_> = (0..40).map(|number| format!("op-{number}")).collect();
    for number in 0..40_u64 {
        let issuer = if number.is_multiple_of(2) { "https://a" } else { "https://b" };
        // Every fifth is signed by the other service's key.
        let seed = if number.is_multiple_of(2) == number.is_multiple_of(5) { 2 } else { 1 };
        let claims = json!({
            "iss": issuer, "sub": format!("jwt-{number}"), "aud": if number.is_multiple_of(3) { "x" } else { "y" },
            "exp": if number.is_multiple_of(7) { 1_000 } else { 4_000_000_000_u64 },
        });
        tokens.push(sign(seed, if number.is_multiple_of(4) { "JWT" } else { "at+jwt" }, &claims));
    }
    tokens
}

/// The three sources: two services, one of them asked by two clients.
fn token_services(port: u16) -> BTreeMap<NamespacedName, Arc<TokenServiceClient>> {
    let make = |name: &str, issuer: &str, seed: u8, client: &str| {
        let service = json!({
            "issuer": issuer, "keys": {"known": key_set(seed)}, "exchange": "disabled",
            "introspection": {"enabled": {
                "access": {
                    "endpoint": format!("http://127.0.0.1:{port}/"), "caCertificates": "", "timeout": 20_000,
                    "addresses": "PrivateAndPublic",
                    "client": {"clientId": client, "secret": "d/s#k", "method": "ClientSecretPost"},
                },
                "dialect": "Json",
                // Small, so that entries are thrown out all the time.
                "cache": {"maxTtl": 60_000, "negativeTtl": 60_000, "maxBytes": 16_384, "stale": "never"},
            }},
        });
        let name: NamespacedName = name.parse().unwrap();
        let service = serde_json::from_value(service).unwrap();
        let secret = Secret::new(b"secret".to_vec());
        let authority =
            TokenServiceClient::new(&name, &service, Some(&secret), None, Arc::new(SystemClock), &Network::Sockets)
                .unwrap();
        (name, Arc::new(authority))
    };
    [make("d/a", "https://a", 1, "gw-a"), make("d/a2", "https://a", 1, "gw-a2"), make("d/b", "https://b", 2, "gw-b")]
        .into()
}

fn rules(token_services: &BTreeMap<NamespacedName, Arc<TokenServiceClient>>) -> Vec<Authenticators> {
    let proof = json!({"required": [], "dpopNonce": false});
    let jwt = |service: &str, audience: &str, typ: &str| {
        json!({"allOf": [{"jwt": {
            "tokenService": service, "audiences": [audience], "tokenType": typ, "proof": proof, "upstreamToken": "none",
        }}]})
    };
    let opaque_with = |service: &str, audience: &str, upstream: Value| {
        json!({"allOf": [{"introspection": {
            "tokenService": service, "audiences": [audience], "proof": proof, "upstreamToken": upstream,
        }}]})
    };
    let opaque = |service: &str, audience: &str| opaque_with(service, audience, json!("none"));
    // The same for every rule, so that all of them share one minter.
    let minted = json!({"minted": {
        "signingKey": "d/s#gw", "keyId": "gw", "published": [], "issuer": "urn:gateway", "audience": "app",
        "lifetime": 60_000, "claims": {"sub": {"claim": "sub"}, "roles": {"claim": "aud"}},
    }});
    let lists = [
        json!([jwt("d/a", "x", "accessToken")]),
        json!([jwt("d/a", "y", "any"), jwt("d/b", "y", "any")]),
        json!([jwt("d/b", "x", "any")]),
        json!([opaque("d/a", "x")]),
        json!([opaque("d/a", "y"), jwt("d/b", "y", "accessToken")]),
        json!([opaque("d/a2", "x")]),
        json!([jwt("d/a2", "y", "accessToken"), opaque("d/a2", "y")]),
        json!([opaque("d/b", "y"), "anonymous"]),
        json!([opaque_with("d/a", "x", minted.clone())]),
        json!([opaque_with("d/a2", "x", minted.clone())]),
        json!([opaque_with("d/b", "x", minted.clone())]),
        json!([opaque_with("d/b", "y", minted)]),
    ];
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let secrets = BTreeMap::from([("d/s#gw".to_owned().try_into().unwrap(), Secret::new(key.into_bytes()))]);
    let previous = CarriedState::default();
    let api_key_use = |_: &str, _: &str| Gauge::new("unused", "unused").unwrap();
    let inputs = BuildInputs { secrets: &secrets, token_services, previous: &previous, api_key_use: &api_key_use };
    let make = |inputs: &BuildInputs<'_>, kept: &mut CarriedState| {
        let make = |list: &Value| {
            let authentication = serde_json::from_value(json!({ "anyOf": list })).unwrap();
            Authenticators::new(&authentication, inputs, kept).unwrap()
        };
        lists.iter().map(make).collect()
    };
    // As after an edit: from the second snapshot on, rules share what is kept.
    let mut kept = CarriedState::default();
    let _first: Vec<Authenticators> = make(&inputs, &mut kept);
    make(&BuildInputs { previous: &kept, ..inputs }, &mut CarriedState::default())
}

fn context() -> CredentialContext {
    CredentialContext {
        memory: Arc::new(CredentialMemory::new(&[3; 32])),
        digester: TokenDigester::new(&[5; 64]),
        clock: Arc::new(SystemClock),
    }
}

async fn verdict(rule: &Authenticators, token: &str, context: &CredentialContext) -> String {
    let (host, path) = (Hostname::parse("a").unwrap(), CanonicalPath::parse("/").unwrap());
    let headers: HeaderMap = [(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())].into_iter().collect();
    let client = IpAddr::from([127, 0, 0, 1]);
    let shown =
        Presentation::new(&Method::GET, "https", &host, None, &path, None, &headers, client, SystemClock.now(), None)
            .unwrap();
    match rule.verify(&shown, context).await {
        Ok(caller) => {
            let subject = caller.verified().and_then(|credential| credential.claims().subject()).unwrap_or("nobody");
            format!("{subject} {}", upstream(&caller))
        }
        Err(Unauthenticated::NoCredentials) => "no credentials".to_owned(),
        Err(Unauthenticated::AuthenticationError { fault, .. }) => format!("{fault:?}"),
    }
}

/// What the upstream would be told of the caller.
fn upstream(caller: &Caller) -> String {
    match (&caller.upstream, caller.verified.first()) {
        (UpstreamCredential::Mint(minter), Some(verified)) => {
            let value = minter.token_for(verified.digest, &verified.credential, SystemClock.now()).unwrap();
            let payload = value.to_str().unwrap().split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
            format!("{} {}", claims["sub"], claims["roles"])
        }
        (UpstreamCredential::Remove, _) => String::new(),
        (UpstreamCredential::Passthrough | UpstreamCredential::Mint(_) | UpstreamCredential::Set(_), _) => {
            "other".to_owned()
        }
    }
}

#[test]
fn cached_and_uncached_verdicts_agree_h1_i1_i2_i3_j9() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let (port, tokens) = (endpoint().await, tokens());
        let mut truth = Vec::new();
        for token in &tokens {
            // Made anew for every token: nothing can be remembered of another one.
            for (rule, ready) in rules(&token_services(port)).iter().enumerate() {
                let fresh = rules(&token_services(port));
                let alone = verdict(&fresh[rule], token, &context()).await;
                assert_eq!(verdict(ready, token, &context()).await, alone);
                truth.push(alone);
            }
        }
        let distinct: std::collections::BTreeSet<_> = truth.iter().collect();
        assert!(distinct.len() > 40, "the draws tell verdicts apart: {distinct:?}");
        let shared = Arc::new((rules(&token_services(port)), tokens, truth, context()));
        let mut draws = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let shared = Arc::clone(&shared);
            draws.spawn(async move {
                let (rules, tokens, truth, context) = shared.as_ref();
                let mut state = SystemClock.now().0 ^ task.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                for _ in 0..DRAWS / TASKS {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let rule = usize::try_from(state >> 8).unwrap() % rules.len();
                    let token = usize::try_from(state >> 24).unwrap() % tokens.len();
                    let found = verdict(&rules[rule], &tokens[token], context).await;
                    assert_eq!(found, truth[token * rules.len() + rule], "rule {rule}, {}", tokens[token]);
                }
            });
        }
        while let Some(done) = draws.join_next().await {
            done.unwrap();
        }
    });
}

/// A clock that stands where it is put.
struct Standing(std::sync::atomic::AtomicU64);

impl Clock for Standing {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// A token service whose answer outlives the JWT in it.
async fn phantom(jwt_ends: u64, answer_ends: u64) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    drop(tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counted = Arc::clone(&counted);
            let service = service_fn(move |_: Request<Incoming>| {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let jwt = sign(1, "JWT", &json!({"iss": "https://a", "aud": "x", "sub": "ann", "exp": jwt_ends}));
                let answer = json!({"active": true, "aud": "x", "sub": "ann", "exp": answer_ends, "jwt": jwt});
                let answer = Response::builder()
                    .header("content-type", "application/json")
                    .body(Full::<Bytes>::from(answer.to_string()));
                async move { Ok::<_, Infallible>(answer.unwrap()) }
            });
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(tokio::spawn(async move { server.serve_connection(TokioIo::new(stream), service).await.is_ok() }));
        }
    }));
    (port, asked)
}

#[tokio::test]
async fn l7_a_phantom_token_is_never_sent_on_beyond_its_own_end() {
    let (port, asked) = phantom(1_000_060, 1_003_600).await;
    let clock = Arc::new(Standing(std::sync::atomic::AtomicU64::new(1_000_000_000)));
    let service = json!({
        "issuer": "https://a", "keys": {"known": key_set(1)}, "exchange": "disabled",
        "introspection": {"enabled": {
            "access": {
                "endpoint": format!("http://127.0.0.1:{port}/"), "caCertificates": "", "timeout": 20_000,
                "addresses": "PrivateAndPublic",
                "client": {"clientId": "gw", "secret": "d/s#k", "method": "ClientSecretPost"},
            },
            "dialect": {"JwtMember": {"member": "jwt", "accept": "Json"}},
            "cache": {"maxTtl": 3_600_000, "negativeTtl": 1000, "maxBytes": 65_536, "stale": {"for": 3_600_000}},
        }},
    });
    let service = serde_json::from_value(service).unwrap();
    let name: NamespacedName = "d/a".parse().unwrap();
    let shared: SharedClock = Arc::clone(&clock) as SharedClock;
    let secret = Secret::new(b"s".to_vec());
    let authority = TokenServiceClient::new(&name, &service, Some(&secret), None, shared, &Network::Sockets).unwrap();
    let digest = TokenDigester::new(&[5; 64]).digest("opaque");
    let client = CredentialMemory::new(&[1; 32]).asker([192, 0, 2, 1].into());
    let (credential, _) = authority.introspect("opaque", digest, &client).await.unwrap();
    assert!(credential.upstream_jwt(clock.now()).is_some());
    authority.introspect("opaque", digest, &client).await.unwrap();
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1, "remembered");
    clock.0.store(1_000_060_000, std::sync::atomic::Ordering::Relaxed);
    assert!(credential.upstream_jwt(clock.now()).is_none());
    assert!(authority.cached_answer(&digest, clock.now()).is_none(), "asked anew");
    // The JWT that comes again is over as well: nothing is sent on, although the answer says that the token is in use.
    assert_eq!(authority.introspect("opaque", digest, &client).await.err(), Some(VerificationError::Inactive));
}
