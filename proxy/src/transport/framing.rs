//! A guard between socket and HTTP parser that sees every byte of a connection first.
//!
//! The parser below is lenient where a proxy must not be: it drops a Content-Length beside Transfer-Encoding, takes
//! bare LF, `Transfer-Encoding: gzip, chunked`, equal duplicates of Content-Length and junk in chunk extensions. Each
//! of these is read in another way by some application (request smuggling, bug classes F1 to F6), so none of them gets
//! through. The guard hands on whole heads only. In place of an ambiguous one it hands on a harmless head of its own
//! and notes which request that is: the request is then refused with 400 in its turn, and the connection closes. So it
//! is with everything that the parser would refuse by itself, where no record would tell of it.
//!
//! Of HTTP/2 connections (known by their preface) the frames are counted; connections after 101 pass unseen.

mod chunked;
mod frames;
mod head;
mod hpack;
mod outgoing;
mod scan;

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::limits::{HeldHead, Limits};
use crate::pipeline::Interim;
pub(crate) use frames::{BURST, PER_SECOND};
pub use head::{INVALID_TARGET, TARGET_TOO_LONG, TOO_LARGE as HEAD_TOO_LARGE, TOO_MANY_FIELDS};
pub(crate) use head::{MAX_HEAD, fuzz_head};
pub(crate) use hpack::EXCESS as EXCESS_FIELDS;
pub(super) use outgoing::Backlog;
use outgoing::Outgoing;
pub(crate) use outgoing::{LEAVE_BYTES, LEAVE_TIME, MAX_BACKLOG};
pub(super) use scan::Agreed;
pub use scan::FramingVerdict;
pub(crate) use scan::MAX_SPOILED;
use scan::{Over, Scan};

/// Reason that is answered with 503.
pub const NO_ROOM: &str = "heads that are not whole take all the room there is for them";

/// Bytes of fields of HTTP/2 after which others have their turn, however fast more come: the parser reads on as long as
/// there is something to read, and a byte of HPACK can mean a whole field.
const TURN: usize = 2 * 1024;

/// Bytes of a socket, guarded.
pub(super) struct FramingGuard<S> {
    inner: S,
    verdict: Arc<FramingVerdict>,
    scan: Scan,
    /// Bytes of a head that is not whole yet.
    held: Vec<u8>,
    room: HeldHead,
    /// Bytes that may be handed on.
    out: Vec<u8>,
    /// Time that a head may take.
    patience: Duration,
    /// Runs while a head is awaited of which the parser knows nothing: the first one, and one that is not whole.
    awaiting: Option<Pin<Box<Sleep>>>,
    /// Bytes of fields of HTTP/2 handed on since others had their turn.
    in_turn: usize,
    outgoing: Outgoing,
}

impl<S> FramingGuard<S> {
    pub(super) fn new(
        inner: S,
        verdict: Arc<FramingVerdict>,
        (backlog, interim): (Arc<Backlog>, Arc<Interim>),
        agreed: Agreed,
        limits: &Limits,
    ) -> Self {
        let (patience, room) = (limits.head, HeldHead::new(limits.heads.clone()));
        let outgoing = Outgoing::new(backlog, interim, patience);
        Self {
            inner,
            verdict,
            scan: Scan::new(agreed),
            held: Vec::new(),
            room,
            out: Vec::new(),
            patience,
            awaiting: None,
            in_turn: 0,
            outgoing,
        }
    }

    /// The parser's own clock cannot run for bytes that it has not seen, so a slow head is timed here (D2).
    fn check_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.scan.awaits_head(!self.held.is_empty()) {
            self.awaiting = None;
            return Ok(());
        }
        let patience = self.patience;
        let awaiting = self.awaiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match awaiting.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request took too long")),
            Poll::Pending => Ok(()),
        }
    }

    /// Keeps what lies behind what was handed on: the beginning of a head, or what stands in for the rest.
    fn keep(&mut self, rest: Vec<u8>) {
        if self.scan.over().is_none() && !self.room.hold(rest.len()) {
            self.scan.refuse(NO_ROOM, &self.verdict);
        }
        match self.scan.over() {
            Some(over) => self.out.extend_from_slice(over.instead()),
            None => self.held = rest,
        }
    }

    /// Takes over bytes of a read: hands on what may be, holds what is not whole.
    fn take_in(&mut self, bytes: &[u8]) {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let passed = self.scan.look(&all, &self.verdict);
        if passed > 0 {
            // The next head has its own time.
            self.awaiting = None;
        }
        let rest = all.split_off(passed);
        self.out.append(&mut all);
        self.keep(rest);
    }

    fn was_switched(&self) -> bool {
        self.verdict.switched.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> FramingGuard<S> {
    /// The usual case: what arrives is whole, and stays where the parser wants it. True when something was handed on, or
    /// nothing will come any more.
    fn poll_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if self.in_turn >= TURN {
            self.in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buf) else {
            self.in_turn = 0;
            return Poll::Pending;
        };
        read?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        let passed = self.scan.look(fresh, &self.verdict);
        if passed > 0 {
            self.awaiting = None;
        }
        self.in_turn = self.in_turn.saturating_add(self.scan.take_fields());
        if passed == fresh.len() && self.scan.over().is_none() {
            return Poll::Ready(Ok(true));
        }
        let rest = fresh.get(passed..).unwrap_or_default().to_vec();
        buf.set_filled(before.saturating_add(passed));
        self.keep(rest);
        Poll::Ready(Ok(passed > 0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramingGuard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.was_switched() {
            this.scan.switch();
            let held = std::mem::take(&mut this.held);
            this.out.extend_from_slice(&held);
        }
        loop {
            if !this.out.is_empty() {
                let count = this.out.len().min(buf.remaining());
                buf.put_slice(this.out.drain(..count).as_slice());
                if this.out.is_empty() {
                    this.out = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.scan.over() {
                None => {}
                Some(Over::Broken(reason)) => return Poll::Ready(Err(io::Error::other(reason))),
                // Nothing more is ever read. An end of file now would take the connection down before the refusal is
                // written; it is the answer to the stand-in that closes it.
                Some(Over::Refused | Over::Flooded) => return Poll::Pending,
            }
            if this.verdict.is_spoiled()
                && let Some(end) = this.scan.give_up()
            {
                this.out.extend_from_slice(end);
                continue;
            }
            this.check_patience(cx)?;
            if this.held.is_empty() {
                if ready!(this.poll_through(cx, buf))? {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut scratch = [0; 4096];
                let mut more = ReadBuf::new(&mut scratch);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.take_in(more.filled());
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FramingGuard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = match this.write_before(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_write(cx, bytes),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Pending,
        };
        this.wrote(cx, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match this.outgoing.between_messages(&mut this.inner, cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_flush(cx),
            held @ (Poll::Ready(Err(_)) | Poll::Pending) => held,
        };
        this.outgoing.moving(cx, flushed, this.verdict.switched.load(Ordering::Relaxed))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let unread = !this.scan.is_between_requests() && !this.was_switched();
        this.outgoing.leave(&mut this.inner, cx, unread)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = match this.write_before(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.inner).poll_write_vectored(cx, bytes),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Pending,
        };
        this.wrote(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl<S: AsyncWrite + Unpin> FramingGuard<S> {
    /// What stands before the next bytes of the parser.
    fn write_before(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.before_message(&mut self.inner, cx)
    }
}

impl<S> FramingGuard<S> {
    fn wrote(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.outgoing.wrote(*bytes);
            self.scan.wrote(*bytes);
        }
        self.outgoing.moving(cx, wrote, self.verdict.switched.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
