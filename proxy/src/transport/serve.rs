//! Serving connections: HTTP/1.1 and HTTP/2, in clear text or TLS, until drain.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{Request, Response, StatusCode, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::Instant,
};

use super::{
    Acceptors, FramingVerdict, Limits, Listener,
    connections::{Admission, Connections, Place},
    executor::StreamExecutor,
    framing::{Agreed, FramingGuard},
    pulse::{Over, Pulse},
};
use crate::{
    authn::PeerCertificates,
    peer::Peer,
    pipeline::{AnswerBody, Connection, Dispatch, Interim, MAX_FIELDS, MAX_HEAD_H2, Metrics, RequestHandler, Upload},
    pressure::Pressure,
};

/// Tells workers to stop: accept nothing new, finish what runs, be gone by the deadline.
pub type Drain = watch::Receiver<Option<Instant>>;

/// How connections are taken in.
pub struct Entrance {
    /// Given, clients speak TLS.
    pub tls: Option<Acceptors>,
    /// Bounds of the worker.
    pub limits: Limits,
    /// Whether work is turned away.
    pub pressure: Pressure,
    /// When to stop.
    pub drain: Drain,
}

/// Serves one listener of one worker until drain is over.
pub async fn serve<D: Dispatch + 'static>(
    listener: Listener,
    entrance: Entrance,
    gate: Rc<RequestHandler<D>>,
    metrics: Metrics,
) {
    let Entrance { tls, limits, pressure, mut drain } = entrance;
    let connections = Connections::new(limits.connections);
    let mut changes = pressure.changes();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = drain.wait_for(Option::is_some) => break,
            Ok(()) = changes.changed() => {
                if pressure.is_high() {
                    connections.release_silent();
                }
                continue;
            }
            accepted = listener.socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: give others a moment to close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        if pressure.is_high() {
            // Not even room for a refusal in words.
            metrics.connections_refused.inc();
            continue;
        }
        let place = match connections.enter(Peer::of(peer.ip())) {
            Admission::Admitted(place) => place,
            Admission::InPlaceOfAnother(place) => {
                metrics.connections_displaced.inc();
                place
            }
            Admission::Refused => {
                metrics.connections_refused.inc();
                continue;
            }
        };
        drop(stream.set_nodelay(true));
        let worker = Worker { tls: tls.clone(), gate: Rc::clone(&gate), limits: limits.clone(), drain: drain.clone() };
        let open = metrics.connection();
        drop(tokio::task::spawn_local(async move {
            let wanted = place.wanted();
            tokio::select! {
                biased;
                () = wanted => tracing::debug!(%peer, "gives way, for nothing was asked"),
                () = worker.connection(stream, peer, place) => {}
            }
            drop(open);
        }));
    }
    drop(listener);
    let deadline = drain.borrow().unwrap_or_else(Instant::now);
    while connections.open() > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Requests at the same time on one connection of HTTP/2.
pub(crate) const STREAMS: u32 = 32;

/// Time for a client of HTTP/2 to take in that its connection ends.
const GOODBYE: Duration = Duration::from_secs(1);

struct Worker<D> {
    tls: Option<Acceptors>,
    gate: Rc<RequestHandler<D>>,
    limits: Limits,
    drain: Drain,
}

impl<D: Dispatch + 'static> Worker<D> {
    async fn connection(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let Ok(local) = stream.local_addr() else { return };
        let ends = (peer, local);
        match self.tls.clone() {
            None => self.speak(stream, ends, Agreed::Nothing, (None, place)).await,
            Some(tls) => {
                let tls = if self.gate.wants_certificates() { tls.asking } else { tls.plain };
                // Boxed, so that plain connections do not pay for the size of a handshake.
                let handshake = Box::pin(tokio::time::timeout(self.limits.handshake, tls.accept(stream)));
                match handshake.await {
                    Ok(Ok(stream)) => {
                        let (_, session) = stream.get_ref();
                        let shown = session.peer_certificates().map(<[_]>::to_vec);
                        let shown = shown.and_then(PeerCertificates::new);
                        let agreed = Agreed::by_alpn(session.alpn_protocol());
                        Box::pin(self.speak(stream, ends, agreed, (shown, place))).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                }
            }
        }
    }

    async fn speak<S>(
        mut self,
        stream: S,
        (peer, local): (SocketAddr, SocketAddr),
        agreed: Agreed,
        (certificates, place): (Option<PeerCertificates>, Place),
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let framing = Arc::new(FramingVerdict::default());
        let pulse = Pulse::new(&self.limits, place);
        let interim = Arc::new(Interim::default());
        let outgoing = (pulse.backlog(), Arc::clone(&interim));
        let io = TokioIo::new(FramingGuard::new(stream, Arc::clone(&framing), outgoing, agreed, &self.limits));
        let (scheme, upload) = (agreed.scheme(), Upload::default());
        let connection = Rc::new(Connection { peer, local, scheme, certificates, framing, upload, interim });
        let gate = Rc::clone(&self.gate);
        let beat = Rc::clone(&pulse);
        let service = service_fn(move |request: Request<Incoming>| {
            let (gate, connection, beat) = (Rc::clone(&gate), Rc::clone(&connection), Rc::clone(&beat));
            let framing = Arc::clone(&connection.framing);
            let exchange = beat.begin(request.version());
            async move {
                if request.version() != Version::HTTP_2 {
                    beat.take_turns().await;
                }
                let answer = gate.handle(request, connection).await;
                if spoils(&answer) {
                    framing.spoil();
                }
                Ok::<_, Infallible>(answer.map(|body| exchange.written(body)))
            }
        });
        let builder = builder(&self.limits);
        let mut serving = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
        let mut over = std::pin::pin!(pulse.over());
        let result = tokio::select! {
            biased;
            result = poll_fn(|cx| {
                pulse.turn();
                serving.as_mut().poll(cx)
            }) => Ok(result),
            over = over.as_mut() => Err(over),
            _ = self.drain.wait_for(Option::is_some) => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    result = serving.as_mut() => Ok(result),
                    over = over.as_mut() => Err(over),
                }
            }
        };
        let result = match result {
            Ok(result) => result,
            Err(Over::Idle) => {
                tracing::debug!(%peer, "nothing was asked for too long");
                // Clients of HTTP/2 are told; who does not listen is left.
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(GOODBYE, serving).await.unwrap_or(Ok(()))
            }
            Err(Over::Unread) => {
                tracing::debug!(%peer, "the answer was not read in the rule's time");
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// Whether the answer is ours to a request that was malformed or too large.
fn spoils(answer: &Response<AnswerBody>) -> bool {
    let refuses = matches!(answer.status(), StatusCode::BAD_REQUEST | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    refuses && answer.body().deadline().is_none()
}

/// Every limit of the parsers, set by us and not left to their defaults.
fn builder(limits: &Limits) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(StreamExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(128 * 1024)
        .max_headers(MAX_FIELDS)
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_header_list_size(u32::try_from(MAX_HEAD_H2 * 2).unwrap_or(u32::MAX))
        .max_send_buf_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .keep_alive_interval(Duration::from_mins(1))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
