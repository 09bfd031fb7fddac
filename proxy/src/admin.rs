//! The admin port: `/livez`, `/readyz`, `/metrics`, and to callers on this machine `/snapshot`.

use std::{convert::Infallible, net::SocketAddr, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    peer::Peer,
    pipeline::{Metrics, SharedRuntime},
    transport::{Admission, Connections, Drain},
};

/// What the admin port tells of.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) runtime: SharedRuntime,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    pub(crate) exposure: Exposure,
}

/// What a port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Everything: names of consumers and identifiers of keys stand in the metrics.
    Everything,
    /// `/livez` and `/readyz`, for probes from outside the pod.
    Probes,
}

/// Connections of one port, of which one address has half.
pub(crate) const MAX_CONNECTIONS: usize = 64;

/// Time that a connection may be open, whatever is asked on it.
pub(crate) const MAX_TIME: Duration = Duration::from_mins(1);

/// Time for the head of a request.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let admin = Rc::new(admin);
    let connections = Connections::new(MAX_CONNECTIONS);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (Admission::Admitted(place) | Admission::InPlaceOfAnother(place)) = connections.enter(Peer::of(peer.ip()))
        else {
            continue;
        };
        let admin = Rc::clone(&admin);
        drop(tokio::task::spawn_local(async move {
            let wanted = place.wanted();
            let service = service_fn(move |request: Request<Incoming>| {
                place.spoke();
                let answer = admin.answer(request.method(), request.uri().path(), peer);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service);
            // A prober that hangs up is nobody's concern.
            tokio::select! {
                biased;
                () = wanted => {}
                _ = tokio::time::timeout(MAX_TIME, connection) => {}
            }
        }));
    }
}

impl Admin {
    fn answer(&self, method: &Method, path: &str, peer: SocketAddr) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match path {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(),
            _ if self.exposure == Exposure::Probes => text(StatusCode::NOT_FOUND, "here are /livez /readyz\n"),
            "/metrics" => {
                self.metrics.remembers(self.runtime.load().held());
                with_type(StatusCode::OK, "text/plain; version=0.0.4", self.metrics.render())
            }
            "/jwks" => {
                let keys = self.runtime.load().published_keys();
                with_type(StatusCode::OK, "application/jwk-set+json", keys.to_string().into_bytes())
            }
            "/snapshot" if peer.ip().to_canonical().is_loopback() => self.snapshot(),
            "/snapshot" => text(StatusCode::FORBIDDEN, "/snapshot is told to callers on this machine only\n"),
            _ => text(StatusCode::NOT_FOUND, "here are /livez /readyz /metrics /jwks /snapshot\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        if self.drain.borrow().is_some() {
            text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.runtime.load().is_ready() {
            text(StatusCode::OK, "ok\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot from the operator yet\n")
        }
    }

    /// Routes and their policies; of token services and secrets the names only.
    fn snapshot(&self) -> Response<Full<Bytes>> {
        let runtime = self.runtime.load();
        let routes: serde_json::Map<_, _> =
            runtime.routes().iter().map(|(name, route)| (name.to_string(), json!(route))).collect();
        let services: Vec<_> = runtime.token_services().map(ToString::to_string).collect();
        let body = json!({ "revision": runtime.revision(), "routes": routes, "tokenServices": services });
        with_type(StatusCode::OK, "application/json", body.to_string().into_bytes())
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn with_type(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
