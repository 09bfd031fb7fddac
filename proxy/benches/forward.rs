//! What policies add to a plain forward: `cargo bench -p portreeve-proxy --bench forward`. Requests go over one HTTP/1.1
//! connection in memory through the whole gate, from the bytes to the answer and its record; only the application is a
//! constant. Turns of all rules alternate, and all bring the same token, so that the differences are those of the rules.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on shall say so by panicking, and lives in real time"
)]

mod fixture;

use std::{collections::BTreeSet, convert::Infallible, rc::Rc, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use portreeve_policy::{NamespacedName, Snapshot, Upstream};
use portreeve_proxy::{
    authn::{CredentialContext, CredentialMemory, TokenDigester},
    authz::Permitted,
    clock::{SharedClock, SystemClock},
    outbound::Network,
    pipeline::{
        AccessLog, AnswerBody, BuildContext, Connection, DecisionIds, Dispatch, Lane, Metrics, Pseudonym, Records,
        RequestBody, RequestHandler, RequestHandlerConfig, Runtime, Scheme, Upload, UpstreamFault, build,
    },
    pressure::Pressure,
};
use serde_json::{Value, json};

const BATCHES: usize = 101;
const TURNS: u32 = 1000;

/// An application that has answered already.
struct Constant;

impl Dispatch for Constant {
    async fn send(
        &self,
        _: &Upstream,
        _: Lane,
        request: Permitted<Request<RequestBody>>,
        _: tokio::time::Instant,
    ) -> Result<Response<AnswerBody>, UpstreamFault> {
        drop(request.into_inner());
        Ok(Response::new(AnswerBody::full(Bytes::from_static(b"ok"))))
    }
}

fn rule(name: &str, authentication: &Value, conditions: &Value) -> Value {
    json!({
        "name": name, "matches": [{
            "methods": [], "path": {"prefix": format!("/{name}")}, "headers": [],
        }], "timeout": 5000, "upgrades": [], "policies": [],
        "state": {"ready": {"limits": "none", "authentication": authentication, "authorization": conditions}},
    })
}

fn snapshot() -> Snapshot {
    let jwt = json!({"jwt": {
        "tokenService": "default/login", "audiences": ["orders"], "tokenType": "accessToken",
        "proof": {"required": [], "dpopNonce": false}, "upstreamToken": "original",
    }});
    let jwt = json!({"anyOf": [{"allOf": [jwt]}]});
    let scopes = json!({"scopes": {"allOf": ["orders:read"], "anyOf": []}});
    let claims = json!({"claims": [
        {"path": "$.tenant", "test": {"in": ["acme"]}}, {"path": "$.roles", "test": {"containsAnyOf": ["clerk"]}},
    ]});
    let rules = [
        rule("open", &json!("anonymous"), &json!("anyone")),
        rule("token", &jwt, &json!("anyone")),
        rule("scopes", &jwt, &json!({"allOf": [scopes]})),
        rule("claims", &jwt, &json!({"allOf": [scopes, claims]})),
    ];
    let route = json!({
        "generation": 1, "hostnames": [], "rules": rules,
        "upstream": {"port": 9, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 64},
    });
    let mut snapshot = Snapshot::default();
    let orders: NamespacedName = "default/orders".parse().unwrap();
    let (login, service) = fixture::token_service();
    snapshot.routes.insert(orders, Arc::new(serde_json::from_value(route).unwrap()));
    snapshot.token_services.insert(login, Arc::new(service));
    snapshot
}

fn gate() -> Rc<RequestHandler<Constant>> {
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Metrics::new().unwrap();
    let context = BuildContext {
        clock: Arc::clone(&clock),
        metrics: metrics.clone(),
        own_ports: BTreeSet::new(),
        network: Network::Sockets,
    };
    let (runtime, rejections) = build(&snapshot(), 1, &Runtime::refusing(), &context);
    assert_eq!(rejections, []);
    let credentials = || CredentialContext {
        memory: Arc::new(CredentialMemory::new(&[1; 32])),
        digester: TokenDigester::new(&[3; 64]),
        clock: Arc::clone(&clock),
    };
    Rc::new(RequestHandler::new(RequestHandlerConfig {
        runtime: Arc::new(ArcSwap::from_pointee(runtime)),
        dispatch: Constant,
        records: Records::start(std::io::sink(), metrics.records_dropped.clone()).unwrap().of_worker(),
        credentials: credentials(),
        dry_run_credentials: credentials(),
        ids: DecisionIds::new(0),
        pseudonym: Pseudonym::new(0),
        access_log: AccessLog::Off,
        pressure: Pressure::default(),
        unknown_keys: tokio::sync::mpsc::channel(16).0,
        metrics,
        clock,
    }))
}

async fn measure() {
    let (gate, token) = (gate(), fixture::token(&json!({})));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connection = Rc::new(Connection {
        peer: "127.0.0.1:9".parse().unwrap(),
        scheme: Scheme::Http,
        certificates: None,
        framing: Arc::default(),
        local: "127.0.0.1:80".parse().unwrap(),
        upload: Upload::default(),
        interim: Arc::default(),
    });
    let service = service_fn(move |request: Request<Incoming>| {
        let (gate, connection) = (Rc::clone(&gate), Rc::clone(&connection));
        async move { Ok::<_, Infallible>(gate.handle(request, connection).await) }
    });
    drop(tokio::task::spawn_local(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service),
    ));
    let (mut client, driver) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    drop(tokio::task::spawn_local(driver));
    let names = ["open", "token", "scopes", "claims"];
    let mut batches = [const { Vec::new() }; 4];
    for _ in 0..=BATCHES {
        for (name, batches) in names.iter().zip(&mut batches) {
            let began = Instant::now();
            for _ in 0..TURNS {
                let request = Request::get(format!("/{name}/7")).header("host", "orders.example.com");
                let request = request.header("authorization", format!("Bearer {token}")).body(Empty::<Bytes>::new());
                client.ready().await.unwrap();
                let answer = client.send_request(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), 200);
                drop(answer.into_body().collect().await.unwrap());
            }
            batches.push(began.elapsed().as_nanos() / u128::from(TURNS));
        }
    }
    let mut plain = None;
    for (name, mut batches) in names.iter().zip(batches) {
        // The first batch finds out, and is not counted.
        batches.remove(0);
        batches.sort_unstable();
        let (median, best) = (batches[BATCHES / 2], batches[0]);
        let (over, least) = *plain.get_or_insert((median, best));
        let above = |one: u128, other: u128| i128::try_from(one).unwrap() - i128::try_from(other).unwrap();
        println!(
            "{name:<8} median {median:>6} ns  best {best:>6} ns   above a plain forward: median {:>5} ns  best {:>5} ns{}",
            above(median, over),
            above(best, least),
            if *name == "scopes" { "   target 700 ns" } else { "" },
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, measure());
}
