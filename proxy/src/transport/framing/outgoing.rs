//! Bytes on their way to a client: what waits for it is bounded, who takes nothing is given up, and a connection on which
//! the client still sends is left in stages, so that it can read its answer (RFC 9112 section 9.6).

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::pipeline::Interim;

/// Bytes of bodies that were handed to the parser of HTTP/1 and are not with the client's kernel yet.
#[derive(Debug, Default)]
pub(in crate::transport) struct Backlog {
    bytes: AtomicUsize,
    waiting: AtomicWaker,
}

/// With as many bytes on their way no more are asked of the application.
pub(crate) const MAX_BACKLOG: usize = 16 * 1024;

/// Time and bytes for a client that still sends while its connection is being left.
pub(crate) const LEAVE_TIME: Duration = Duration::from_secs(5);
pub(crate) const LEAVE_BYTES: usize = 16 << 20;

/// Pause behind 64 KiB of it.
const LEAVE_PAUSE: Duration = Duration::from_millis(4);

/// The way out of one connection.
pub(super) struct Outgoing {
    backlog: Arc<Backlog>,
    interim: Arc<Interim>,
    /// Bytes of interim answers that are being written.
    heads: Vec<u8>,
    /// Everything that the parser said is written.
    between: bool,
    /// Time for a head; the peer has twice as much to take something.
    patience: Duration,
    /// Runs while the peer takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
    leaving: Option<Leaving>,
}

struct Leaving {
    clock: Pin<Box<Sleep>>,
    said_goodbye: bool,
    discarded: usize,
    /// Runs between two pieces of what is thrown away.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Backlog {
    pub(in crate::transport) fn handed(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Ordering::Relaxed).saturating_add(bytes), Ordering::Relaxed);
    }

    /// Whether there is room for more; if not, the task is woken when there is.
    pub(in crate::transport) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.bytes.load(Ordering::Relaxed) < MAX_BACKLOG {
            return Poll::Ready(());
        }
        self.waiting.register(cx.waker());
        Poll::Pending
    }

    /// Heads and framing count as well, so that the figure is never too high.
    fn wrote(&self, bytes: usize) {
        let before = self.bytes.load(Ordering::Relaxed);
        if before == 0 {
            return;
        }
        let left = before.saturating_sub(bytes);
        self.bytes.store(left, Ordering::Relaxed);
        if before >= MAX_BACKLOG && left < MAX_BACKLOG {
            self.waiting.wake();
        }
    }
}

impl Outgoing {
    pub(super) fn new(backlog: Arc<Backlog>, interim: Arc<Interim>, patience: Duration) -> Self {
        let patience = patience.saturating_mul(2);
        Self { backlog, interim, heads: Vec::new(), between: true, patience, stalled: None, leaving: None }
    }

    /// The parser is about to write. Interim answers come first, unless it is in the middle of a message.
    pub(super) fn before_message<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.between {
            self.take_heads();
        } else {
            self.interim.discard_late();
        }
        ready!(self.write_heads(inner, cx))?;
        self.between = false;
        Poll::Ready(Ok(()))
    }

    /// The parser has written all that it had to say, and flushes.
    pub(super) fn between_messages<S: AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.between = true;
        self.interim.register(cx.waker());
        self.take_heads();
        self.write_heads(inner, cx)
    }

    fn take_heads(&mut self) {
        if self.heads.is_empty() {
            self.heads = self.interim.take().unwrap_or_default();
        }
    }

    fn write_heads<S: AsyncWrite + Unpin>(&mut self, inner: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.heads.is_empty() {
            let count = ready!(Pin::new(&mut *inner).poll_write(cx, &self.heads))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            drop(self.heads.drain(..count));
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.backlog.wrote(bytes);
    }

    /// A peer that takes nothing for twice the time of a head is given up, unless it speaks another protocol now.
    pub(super) fn moving<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
        switched: bool,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() || switched {
            self.stalled = None;
            return wrote;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }

    /// Says goodbye. Where the client may still be sending, what it sends is taken and thrown away for a while: closed at
    /// once, the connection would be reset, and the answer lost on its way.
    pub(super) fn leave<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        inner: &mut S,
        cx: &mut Context<'_>,
        unread: bool,
    ) -> Poll<io::Result<()>> {
        if !unread {
            return Pin::new(inner).poll_shutdown(cx);
        }
        let fresh = || Leaving {
            clock: Box::pin(tokio::time::sleep(LEAVE_TIME)),
            said_goodbye: false,
            discarded: 0,
            pause: None,
        };
        let leaving = self.leaving.get_or_insert_with(fresh);
        if leaving.clock.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if !leaving.said_goodbye {
            ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
            leaving.said_goodbye = true;
        }
        if let Some(pause) = &mut leaving.pause {
            ready!(pause.as_mut().poll(cx));
            leaving.pause = None;
        }
        let mut scratch = [0; 16 * 1024];
        for _ in 0..4 {
            let mut buffer = ReadBuf::new(&mut scratch);
            // One that broke is left as well.
            let read = ready!(Pin::new(&mut *inner).poll_read(cx, &mut buffer));
            let count = buffer.filled().len();
            leaving.discarded = leaving.discarded.saturating_add(count);
            if read.is_err() || count == 0 || leaving.discarded >= LEAVE_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
        // 16 MiB a second: what nobody wants is not taken as fast as it comes.
        let pause = leaving.pause.insert(Box::pin(tokio::time::sleep(LEAVE_PAUSE)));
        if pause.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn p3_what_waits_for_a_client_is_bounded_and_goes_on_when_it_reads() {
        let backlog = Backlog::default();
        let cx = Context::from_waker(noop_waker_ref());
        assert!(backlog.poll_room(&cx).is_ready());
        backlog.handed(MAX_BACKLOG);
        assert!(backlog.poll_room(&cx).is_pending());
        backlog.wrote(1);
        assert!(backlog.poll_room(&cx).is_ready());
        // A head that was written in between makes the figure no lower than nothing.
        backlog.wrote(MAX_BACKLOG * 2);
        backlog.handed(MAX_BACKLOG - 1);
        assert!(backlog.poll_room(&cx).is_ready());
    }
}
