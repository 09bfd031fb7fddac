//! The way to the application: a pool of connections of one worker, without a lock.
//!
//! A connection is used again only after its answer was read to the end. One retry on a fresh connection: of any request
//! that the old one gave back unsent, and of an idempotent one without a body when a connection that had rested ended
//! before one byte of the answer (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header::TRANSFER_ENCODING};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use portreeve_policy::{AppProtocol, Upstream};
use tokio::{net::TcpStream, time::Instant};

use super::{
    executor::LocalExecutor,
    heard::{Heard, Listened},
    turns::{Turn, Turns},
};
use crate::{
    authz::Permitted,
    pipeline::{AnswerBody, Dispatch, Lane, MAX_PREFLIGHTS, RequestBody, UpstreamFault},
};

/// Connections of one worker.
#[derive(Clone, Default)]
pub struct UpstreamPool {
    ports: Rc<RefCell<BTreeMap<Key, Port>>>,
}

#[derive(Default)]
struct Port {
    turns: Turns,
    idle: VecDeque<(Instant, Link)>,
    shared: Option<http2::SendRequest<RequestBody>>,
    /// HTTP/1 connections that are open or being opened.
    open: u64,
}

/// One HTTP/1 connection.
struct Link {
    sender: http1::SendRequest<RequestBody>,
    heard: Heard,
}

/// From this time on a kept connection may have been closed by the application without our having seen it. One that is
/// taken up at once was not, and its request need not be kept for a second try.
const REST: Duration = Duration::from_micros(200);

/// Idle connections are closed after this time, before most applications close them.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read ahead of the client; its head has to fit in.
pub(crate) const MAX_BUFFER: usize = 16 * 1024;

/// Time to connect on loopback.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);

/// Port, protocol, and whether it is for preflights.
type Key = (u16, AppProtocol, bool);

/// Counts an open connection down, whatever becomes of it.
struct Lease {
    pool: UpstreamPool,
    key: Key,
    link: Option<Link>,
    /// The connection had rested before.
    rested: bool,
}

impl Dispatch for UpstreamPool {
    async fn send(
        &self,
        upstream: &Upstream,
        lane: Lane,
        request: Permitted<Request<RequestBody>>,
        deadline: Instant,
    ) -> Result<Response<AnswerBody>, UpstreamFault> {
        let (client, for_preflights, most) = match lane {
            Lane::Exchange(client) => (client, false, upstream.max_connections.get()),
            Lane::Preflight(client) => (client, true, MAX_PREFLIGHTS as u64),
        };
        let key = (upstream.port.get(), upstream.protocol, for_preflights);
        let turn = self.ports.borrow_mut().entry(key).or_default().turns.take(client, most);
        let turn = turn.ok_or(UpstreamFault::Overloaded)?;
        let request = request.into_inner();
        let exchange = async {
            match upstream.protocol {
                AppProtocol::Http1 => self.send_h1((key, most), turn, request, deadline).await,
                AppProtocol::Http2 => self.send_h2(key, turn, request, deadline).await,
            }
        };
        tokio::time::timeout_at(deadline, exchange).await.unwrap_or(Err(UpstreamFault::Timeout))
    }
}

impl UpstreamPool {
    async fn send_h1(
        &self,
        (key, most): (Key, u64),
        turn: Turn,
        mut request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<AnswerBody>, UpstreamFault> {
        if request.body().size_hint().exact().is_none() {
            // Without it hyper sends a GET or HEAD without its body, which is then left for nobody.
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut lease = match self.idle(key) {
            Some(lease) => lease,
            None => self.open_h1(key, most).await?,
        };
        let mut second = lease.rested.then(|| repeatable(&request)).flatten();
        let mut retried = false;
        loop {
            let Some(link) = &mut lease.link else { return Err(UpstreamFault::Connect) };
            link.heard.forget();
            let mut fault = match link.sender.try_send_request(request).await {
                Ok(response) => return Ok(lease.answer(response, turn, deadline)),
                Err(fault) => fault,
            };
            let silent = !link.heard.anything();
            // Never sent, or sent into a connection that the application was closing.
            let next = fault.take_message().or_else(|| second.take().filter(|_| silent));
            match next {
                Some(next) if !retried => request = next,
                _ => return Err(fault_of(&fault.into_error())),
            }
            retried = true;
            drop(lease);
            lease = self.open_h1(key, most).await?;
        }
    }

    fn idle(&self, key: Key) -> Option<Lease> {
        let mut ports = self.ports.borrow_mut();
        let port = ports.get_mut(&key)?;
        while let Some((since, link)) = port.idle.pop_back() {
            let rest = since.elapsed();
            if link.sender.is_ready() && rest < IDLE {
                return Some(Lease { pool: self.clone(), key, link: Some(link), rested: rest >= REST });
            }
            port.open = port.open.saturating_sub(1);
        }
        None
    }

    async fn open_h1(&self, key: Key, most: u64) -> Result<Lease, UpstreamFault> {
        {
            let mut ports = self.ports.borrow_mut();
            let port = ports.entry(key).or_default();
            if port.open >= most {
                return Err(UpstreamFault::Overloaded);
            }
            port.open += 1;
        }
        let mut lease = Lease { pool: self.clone(), key, link: None, rested: false };
        let (stream, heard) = Listened::new(connect(key.0).await?);
        let io = TokioIo::new(stream);
        let handshake = http1::Builder::new().max_headers(128).max_buf_size(MAX_BUFFER).handshake(io).await;
        let (sender, connection) = handshake.map_err(|_ignored: hyper::Error| UpstreamFault::Connect)?;
        drop(tokio::task::spawn_local(connection.with_upgrades()));
        lease.link = Some(Link { sender, heard });
        Ok(lease)
    }

    async fn send_h2(
        &self,
        key: Key,
        turn: Turn,
        mut request: Request<RequestBody>,
        deadline: Instant,
    ) -> Result<Response<AnswerBody>, UpstreamFault> {
        let held = self.ports.borrow().get(&key).and_then(|port| port.shared.clone());
        let mut sender = match held.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.open_h2(key).await?,
        };
        // HTTP/2 carries scheme and authority in the target (RFC 9113 section 8.3.1); Host would say the same again.
        let authority = request.headers_mut().remove(http::header::HOST);
        let authority = authority.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let target = format!("http://{authority}{}", request.uri());
        *request.uri_mut() =
            Uri::try_from(target).map_err(|_ignored: http::uri::InvalidUri| UpstreamFault::Protocol)?;
        *request.version_mut() = Version::HTTP_2;
        sender.ready().await.map_err(|_ignored: hyper::Error| UpstreamFault::Connect)?;
        let response = sender.send_request(request).await.map_err(|fault| fault_of(&fault))?;
        Ok(response.map(|body| AnswerBody::upstream(body, deadline, Box::new(move |_| drop(turn)))))
    }

    async fn open_h2(&self, key: Key) -> Result<http2::SendRequest<RequestBody>, UpstreamFault> {
        let io = TokioIo::new(connect(key.0).await?);
        let handshake = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .handshake(io)
            .await;
        let (sender, connection) = handshake.map_err(|_ignored: hyper::Error| UpstreamFault::Connect)?;
        drop(tokio::task::spawn_local(connection));
        self.ports.borrow_mut().entry(key).or_default().shared = Some(sender.clone());
        Ok(sender)
    }
}

impl Lease {
    /// Gives the connection back when the answer has been read to its end.
    fn answer(mut self, mut response: Response<Incoming>, turn: Turn, deadline: Instant) -> Response<AnswerBody> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // The connection belongs to the new protocol now, and counts until that is over.
            let upgrade = hyper::upgrade::on(&mut response);
            response.extensions_mut().insert(upgrade);
            return response.map(|body| AnswerBody::switching(body, deadline, Box::new(move |_| drop((self, turn)))));
        }
        response.map(|body| {
            let give_back = Box::new(move |whole: bool| {
                drop(turn);
                if let (true, Some(link)) = (whole, self.link.take()) {
                    self.park(link);
                }
            });
            AnswerBody::upstream(body, deadline, give_back)
        })
    }

    /// The connection is ready again only after its own task has run once more.
    fn park(&self, mut link: Link) {
        let (ports, key) = (Rc::clone(&self.pool.ports), self.key);
        if let Some(port) = ports.borrow_mut().get_mut(&key) {
            // Stays counted while it is parked; the lease counts down as it is dropped.
            port.open += 1;
        }
        if link.sender.is_ready() {
            if let Some(port) = ports.borrow_mut().get_mut(&key) {
                port.idle.push_back((Instant::now(), link));
            }
            return;
        }
        drop(tokio::task::spawn_local(async move {
            let ready = link.sender.ready().await.is_ok();
            if let Some(port) = ports.borrow_mut().get_mut(&key) {
                if ready {
                    port.idle.push_back((Instant::now(), link));
                } else {
                    port.open = port.open.saturating_sub(1);
                }
            }
        }));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(port) = self.pool.ports.borrow_mut().get_mut(&self.key) {
            port.open = port.open.saturating_sub(1);
        }
    }
}

async fn connect(port: u16) -> Result<TcpStream, UpstreamFault> {
    let connecting = tokio::time::timeout(CONNECT, connect_loopback(port)).await;
    let stream = connecting.map_err(|_ignored: tokio::time::error::Elapsed| UpstreamFault::Connect)?;
    let stream = stream.map_err(|_ignored: std::io::Error| UpstreamFault::Connect)?;
    // Without it small answers wait for the other side's delayed acknowledgement.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// The request once more, if the application may get it twice and there is no body that is gone by then.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    if !idempotent || !request.body().is_end_stream() {
        return None;
    }
    let mut second = Request::new(RequestBody::Empty);
    *second.method_mut() = request.method().clone();
    *second.uri_mut() = request.uri().clone();
    *second.version_mut() = request.version();
    *second.headers_mut() = request.headers().clone();
    Some(second)
}

/// `localhost` is `::1` alone for some applications, and nothing was said yet when the other address refuses.
async fn connect_loopback(port: u16) -> std::io::Result<TcpStream> {
    match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await
        }
        connected => connected,
    }
}

/// Whose fault it was: a body error comes from the client's side, all else from the application.
fn fault_of(fault: &hyper::Error) -> UpstreamFault {
    let from_client = std::error::Error::source(fault).is_some_and(<dyn std::error::Error>::is::<hyper::Error>);
    if fault.is_user() || from_client { UpstreamFault::RequestBody } else { UpstreamFault::Protocol }
}
