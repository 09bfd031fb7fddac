//! Bounds of connections that are in force with no settings at all.

use std::time::Duration;

/// The bounds of one worker.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections.
    pub connections: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request head, and for an idle kept-alive connection.
    pub head: Duration,
    /// Time that a connection of HTTP/2 may be open with no request on it.
    pub idle: Duration,
}

impl Limits {
    /// The bounds with this time for heads; HTTP/2 connections may be idle four times as long. Connections are those of
    /// the process, shared out among its workers.
    pub fn new(head: Duration, connections: usize, workers: usize) -> Self {
        // Later moments than these have no place on every clock.
        let head = head.min(Duration::from_hours(24));
        let connections = connections.div_ceil(workers.max(1)).max(1);
        Self { connections, handshake: Duration::from_secs(10), head, idle: head.saturating_mul(4) }
    }
}
