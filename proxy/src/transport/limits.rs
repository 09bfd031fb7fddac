//! Bounds of connections that are in force with no settings at all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Time for a TLS handshake.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

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
    /// Bytes of heads that are not whole, of all workers.
    pub heads: HeadRoom,
}

/// Room for heads that are not whole, beyond what each connection may hold anyway.
#[derive(Debug, Clone, Default)]
pub struct HeadRoom(Arc<AtomicUsize>);

/// Bytes of a head that is not whole which a connection may hold, whatever the others do.
pub(crate) const HEAD_FREE: usize = 4 * 1024;

/// Bytes of such heads beyond that, of the process.
pub(crate) const HEAD_ROOM: usize = 8 << 20;

/// A part of the room, given back when dropped.
#[derive(Debug)]
pub(super) struct HeldHead {
    room: HeadRoom,
    taken: usize,
}

impl HeldHead {
    pub(super) fn new(room: HeadRoom) -> Self {
        Self { room, taken: 0 }
    }

    /// Whether there is room for so many bytes in place of those that were held before.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(HEAD_FREE);
        let more = wanted.saturating_sub(self.taken);
        // Taken before it is looked at, so that the bound holds whoever else does the same meanwhile.
        if more > 0 && self.room.0.fetch_add(more, Ordering::Relaxed).saturating_add(more) > HEAD_ROOM {
            self.room.0.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.room.0.fetch_sub(self.taken.saturating_sub(wanted), Ordering::Relaxed);
        self.taken = wanted;
        true
    }
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        self.room.0.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

impl Limits {
    /// The bounds with this time for heads; HTTP/2 connections may be idle four times as long. Connections are those of
    /// the process, shared out among its workers.
    pub fn new(head: Duration, connections: usize, workers: usize) -> Self {
        // Later moments than these have no place on every clock.
        let head = head.min(Duration::from_hours(24));
        let connections = connections.div_ceil(workers.max(1)).max(1);
        let idle = head.saturating_mul(4);
        Self { connections, handshake: HANDSHAKE, head, idle, heads: HeadRoom::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_heads_that_are_not_whole_have_a_bound_together_and_each_has_a_little() {
        let room = HeadRoom::default();
        let held = || {
            let mut held = HeldHead::new(room.clone());
            held.hold(64 * 1024).then_some(held)
        };
        let all: Vec<_> = std::iter::from_fn(held).collect();
        assert_eq!(all.len(), HEAD_ROOM / (60 * 1024));
        let mut late = HeldHead::new(room.clone());
        assert!(late.hold(HEAD_FREE) && !late.hold(64 * 1024));
        drop(all);
        assert!(late.hold(64 * 1024) && late.hold(10));
        drop(late);
        assert_eq!(room.0.load(Ordering::Relaxed), 0);
    }
}
