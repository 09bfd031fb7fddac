//! A guard between socket and HTTP parser that sees every byte of an HTTP/1 connection first.
//!
//! The parser below is lenient where a proxy must not be: it drops a Content-Length beside Transfer-Encoding, takes
//! bare LF, `Transfer-Encoding: gzip, chunked`, equal duplicates of Content-Length and junk in chunk extensions. Each
//! of these is read in another way by some application (request smuggling, bug classes F1 to F6), so none of them gets
//! through. The guard hands on whole heads only. In place of an ambiguous one it hands on a harmless head of its own
//! and notes which request that is: the request is then refused with 400 in its turn, and the connection closes.
//!
//! HTTP/2 connections (known by their preface) and connections after 101 pass unseen.

mod chunked;
mod head;

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use chunked::Chunked;
pub(crate) use head::fuzz_head;
use head::{Framing, HeadScan, Scanned};
pub use head::{TARGET_TOO_LONG, TOO_LARGE as HEAD_TOO_LARGE};

/// What guard and gate tell each other of one connection.
#[derive(Debug, Default)]
pub struct FramingVerdict {
    refused: OnceLock<(u64, &'static str)>,
    handled: AtomicU64,
    switched: AtomicBool,
}

/// Head that stands in for one that must not be parsed. Its request is refused before anything of it is read.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// First bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Bytes of a socket, guarded.
pub(super) struct Guarded<S> {
    inner: S,
    verdict: std::sync::Arc<FramingVerdict>,
    state: State,
    /// Heads seen so far.
    heads: u64,
    /// Bytes of a head that is not whole yet.
    held: Vec<u8>,
    /// Bytes that may be handed on.
    out: Vec<u8>,
    /// Time that a head may take.
    patience: Duration,
    /// Runs while a head is awaited of which the parser knows nothing: the first one, and one that is not whole.
    awaiting: Option<Pin<Box<Sleep>>>,
    /// Runs while the peer takes nothing of what is written.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(u64),
    Chunked(Chunked),
    Opaque,
    Refused,
}

impl FramingVerdict {
    /// Counts the request that is about to be handled; the reason if it is the one to refuse.
    pub fn of_next_request(&self) -> Option<&'static str> {
        let number = self.handled.fetch_add(1, Ordering::Relaxed);
        self.refused.get().filter(|(refused, _)| *refused == number).map(|(_, reason)| *reason)
    }

    /// The protocol was switched: what follows is no HTTP.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S, verdict: std::sync::Arc<FramingVerdict>, patience: Duration) -> Self {
        let state = State::Head(HeadScan::default());
        Self {
            inner,
            verdict,
            state,
            heads: 0,
            held: Vec::new(),
            out: Vec::new(),
            patience,
            awaiting: None,
            stalled: None,
        }
    }

    /// The parser's own clock cannot run for bytes that it has not seen, so a slow head is timed here (D2).
    fn check_patience(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let unseen = matches!(self.state, State::Head(_)) && (self.heads == 0 || !self.held.is_empty());
        if !unseen {
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

    /// A peer that takes nothing for twice the time of a head is given up, unless it speaks another protocol now.
    fn moving<T>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() || self.verdict.switched.load(Ordering::Relaxed) {
            self.stalled = None;
            return wrote;
        }
        let patience = self.patience.saturating_mul(2);
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }

    /// Looks at new bytes: how many may be handed on. What lies behind belongs to a head that is not whole.
    fn look(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(passed);
            }
            match &mut self.state {
                State::Opaque => return Ok(bytes.len()),
                State::Refused => return Ok(passed),
                State::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    passed += taken;
                    if *left == 0 {
                        self.state = State::Head(HeadScan::default());
                    }
                }
                State::Chunked(chunked) => {
                    // The head of this request is with the parser already: only breaking off is left.
                    let (taken, done) = chunked.look(rest).map_err(io::Error::other)?;
                    passed += taken;
                    if done {
                        self.state = State::Head(HeadScan::default());
                    }
                }
                State::Head(scan) => {
                    if self.heads == 0 && rest.len() < PREFACE.len() && PREFACE.starts_with(rest) {
                        return Ok(passed);
                    }
                    if self.heads == 0 && rest.starts_with(PREFACE) {
                        self.state = State::Opaque;
                        continue;
                    }
                    match scan.look(rest) {
                        Scanned::Whole(length, framing) => {
                            passed += length;
                            self.heads += 1;
                            self.awaiting = None;
                            self.state = match framing {
                                Framing::None => State::Head(HeadScan::default()),
                                Framing::Length(length) => State::Body(length),
                                Framing::Chunked => State::Chunked(Chunked::default()),
                            };
                        }
                        Scanned::Partial => return Ok(passed),
                        Scanned::Refused(reason) => {
                            // Set once only, for nothing is looked at after it.
                            self.verdict.refused.get_or_init(|| (self.heads, reason));
                            self.state = State::Refused;
                            return Ok(passed);
                        }
                    }
                }
            }
        }
    }

    /// Takes over bytes of a read: hands on what may be, holds what is not whole.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let passed = self.look(&all)?;
        let rest = all.split_off(passed);
        self.out.append(&mut all);
        if matches!(self.state, State::Refused) {
            self.out.extend_from_slice(STAND_IN);
        } else {
            self.held = rest;
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.verdict.switched.load(Ordering::Relaxed) && !matches!(this.state, State::Opaque | State::Refused) {
            this.state = State::Opaque;
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
            if matches!(this.state, State::Refused) {
                // Nothing more is ever read. An end of file now would take the connection down before the refusal is
                // written; it is the answer to the stand-in that closes it.
                return Poll::Pending;
            }
            this.check_patience(cx)?;
            let before = buf.filled().len();
            if this.held.is_empty() {
                // The usual case: what arrives is whole, and stays where the parser wants it.
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let fresh = buf.filled().get(before..).unwrap_or_default();
                if fresh.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                let looked = this.look(fresh);
                let Ok(passed) = looked else {
                    // A read that fails must not leave bytes behind.
                    buf.set_filled(before);
                    return Poll::Ready(looked.map(drop));
                };
                if passed == fresh.len() {
                    return Poll::Ready(Ok(()));
                }
                let rest = fresh.get(passed..).unwrap_or_default().to_vec();
                buf.set_filled(before + passed);
                if matches!(this.state, State::Refused) {
                    this.out.extend_from_slice(STAND_IN);
                } else {
                    this.held = rest;
                }
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut scratch = [0; 4096];
                let mut more = ReadBuf::new(&mut scratch);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.take_in(more.filled())?;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.moving(cx, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.inner).poll_flush(cx);
        this.moving(cx, wrote)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.inner).poll_write_vectored(cx, bytes);
        this.moving(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
