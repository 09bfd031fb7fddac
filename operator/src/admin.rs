//! Health and metrics over HTTP.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{controller::Watchdog, readiness::Readiness, signing::SigningKeys, telemetry::Metrics};

#[derive(Clone)]
struct Admin {
    metrics: Metrics,
    readiness: Readiness,
    signing: watch::Receiver<SigningKeys>,
    watchdog: Watchdog,
}

/// Serves `/healthz`, `/livez`, `/readyz`, `/metrics` and the key sets of minted tokens, `/jwks/NAMESPACE`, until the
/// process ends.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    signing: watch::Receiver<SigningKeys>,
    watchdog: Watchdog,
) {
    let router = Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/jwks/{namespace}", get(published_keys))
        .with_state(Admin { metrics, readiness, signing, watchdog });
    if let Err(fault) = axum::serve(listener, router).await {
        tracing::error!(%fault, "the admin port stopped");
    }
}

/// Fails only where a restart is the cure.
async fn alive(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.watchdog.stuck() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.readiness.tell() {
        (true, warnings) => (StatusCode::OK, format!("ready\n{warnings}")),
        (false, obstacles) => (StatusCode::SERVICE_UNAVAILABLE, obstacles),
    }
}

/// Public keys of one namespace (RFC 7517 section 5).
async fn published_keys(State(admin): State<Admin>, Path(namespace): Path<String>) -> impl IntoResponse {
    let key = admin.signing.borrow().get(&namespace).cloned();
    let Some(key) = key else {
        let body = "no policy of this namespace has tokens minted\n".to_owned();
        return (StatusCode::NOT_FOUND, [("content-type", "text/plain; charset=utf-8")], body);
    };
    let keys: Vec<_> = key.published.to_jwks().collect();
    let body = serde_json::json!({ "keys": keys }).to_string();
    (StatusCode::OK, [("content-type", "application/jwk-set+json")], body)
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render())
}
