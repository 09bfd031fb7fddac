//! Health and metrics over HTTP.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::{readiness::Readiness, telemetry::Metrics};

#[derive(Clone)]
struct Admin {
    metrics: Metrics,
    readiness: Readiness,
}

/// Serves `/healthz`, `/livez`, `/readyz` and `/metrics` until the process ends.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics, readiness: Readiness) {
    let router = Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Admin { metrics, readiness });
    if let Err(fault) = axum::serve(listener, router).await {
        tracing::error!(%fault, "the admin port stopped");
    }
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.readiness.tell() {
        (true, warnings) => (StatusCode::OK, format!("ready\n{warnings}")),
        (false, obstacles) => (StatusCode::SERVICE_UNAVAILABLE, obstacles),
    }
}

async fn metrics_text(State(admin): State<Admin>) -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], admin.metrics.render())
}
