//! Listening sockets: one for each worker on the same port, so that the kernel spreads connections.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A bound socket of one worker.
pub struct Listener {
    pub(super) socket: TcpListener,
}

/// Bounds that are in force with no settings at all.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections of the whole process.
    pub connections: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request head, and for an idle kept-alive connection.
    pub head: Duration,
    /// Time that a connection of HTTP/2 may be open with no request on it.
    pub idle: Duration,
    open: Arc<AtomicUsize>,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}{}", if .error.kind() == io::ErrorKind::AddrInUse { "; another program has the port, choose another with PORTREEVE_LISTEN" } else { "" })]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

/// One open connection, counted down when dropped.
pub(super) struct OpenConnection(Arc<AtomicUsize>);

impl Default for Limits {
    fn default() -> Self {
        Self::with_head(Duration::from_secs(30))
    }
}

impl Limits {
    /// The bounds with another time for heads; HTTP/2 connections may be idle four times as long.
    pub fn with_head(head: Duration) -> Self {
        // Later moments than these have no place on every clock.
        let head = head.min(Duration::from_hours(24));
        let (connections, handshake, idle) = (10_000, Duration::from_secs(10), head.saturating_mul(4));
        Self { connections, handshake, head, idle, open: Arc::default() }
    }

    /// Counts a connection; `None` at the limit.
    pub(super) fn enter(&self) -> Option<OpenConnection> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(OpenConnection(Arc::clone(&self.open)))
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Binds a port once for each worker. The first bind is made without sharing and given up again, so that a port that
/// another proxy has is noticed.
pub fn bind_all(address: SocketAddr, workers: usize) -> Result<Vec<std::net::TcpListener>, BindError> {
    let alone = std::net::TcpListener::bind(address).map_err(|error| BindError { address, error })?;
    // Port 0 asks for any free port; all workers then share the one that was found.
    let address = alone.local_addr().map_err(|error| BindError { address, error })?;
    drop(alone);
    (0..workers).map(|_| bind(address)).collect()
}

fn bind(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let make = || -> io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    make().map_err(|error| BindError { address, error })
}

impl Listener {
    /// Takes a bound socket over into the running worker.
    pub fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::from_std(socket)? })
    }
}
