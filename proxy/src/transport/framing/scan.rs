//! What the bytes of a connection mean, found without reading or writing any.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
};

use super::{
    chunked::Chunked,
    frames::{Flood, Frames},
    head::{Framing, HeadScan, Scanned},
};
use crate::pipeline::Scheme;

/// What guard and gate tell each other of one connection.
#[derive(Debug, Default)]
pub struct FramingVerdict {
    refused: OnceLock<(u64, &'static str)>,
    broken: OnceLock<(u64, &'static str)>,
    handled: AtomicU64,
    /// Requests that were malformed or too large.
    spoiled: AtomicU32,
    pub(super) switched: AtomicBool,
}

/// Requests of one connection of HTTP/2 that may be malformed or too large: each costs more than it brought. HTTP/1 ends
/// at the first one.
pub(crate) const MAX_SPOILED: u32 = 16;

/// Head that stands in for one that must not be parsed. Its request is refused before anything of it is read.
pub(super) const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused.invalid\r\nconnection: close\r\n\r\n";

/// First bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What both sides agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transport) enum Agreed {
    /// In clear text: what the client begins with.
    Nothing,
    /// Over TLS, what ALPN says or leaves out; the other one is refused (RFC 9113 sections 3.2 and 3.3).
    Http1,
    Http2,
}

impl Agreed {
    pub(in crate::transport) fn by_alpn(protocol: Option<&[u8]>) -> Self {
        if protocol == Some(b"h2") { Self::Http2 } else { Self::Http1 }
    }

    pub(in crate::transport) fn scheme(self) -> Scheme {
        match self {
            Self::Nothing => Scheme::Http,
            Self::Http1 | Self::Http2 => Scheme::Https,
        }
    }
}

/// Progress within the bytes of one connection.
#[derive(Debug)]
pub(super) struct Scan {
    agreed: Agreed,
    state: State,
    /// Heads seen so far.
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(HeadScan),
    Body(u64),
    Chunked(Chunked),
    Frames(Frames),
    Opaque,
    /// Nothing behind this point is looked at or handed on.
    Over(Over),
}

/// Why nothing more is handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A head is refused: these bytes stand in for it.
    Refused,
    /// The body under way is broken: reading on fails.
    Broken(&'static str),
    /// Too many frames that ask for nothing: these bytes make the parser end the connection.
    Flooded,
}

impl Over {
    /// Bytes for the parser in place of those that were not handed on.
    pub(super) fn instead(self) -> &'static [u8] {
        match self {
            Self::Refused => STAND_IN,
            Self::Broken(_) => b"",
            Self::Flooded => Frames::ILLEGAL,
        }
    }
}

impl FramingVerdict {
    /// Counts the request that is about to be handled; the reason if it is the one to refuse.
    pub fn of_next_request(&self) -> Option<&'static str> {
        let number = self.handled.fetch_add(1, Ordering::Relaxed);
        self.refused.get().filter(|(refused, _)| *refused == number).map(|(_, reason)| *reason)
    }

    #[cfg(test)]
    pub(super) fn of_refused(&self) -> Option<&'static str> {
        self.refused.get().map(|(_, reason)| *reason)
    }

    /// What is wrong with the body of the request that was handled last, if anything is.
    pub fn of_this_body(&self) -> Option<&'static str> {
        let handled = self.handled.load(Ordering::Relaxed);
        self.broken.get().filter(|(broken, _)| *broken == handled).map(|(_, reason)| *reason)
    }

    /// A request was malformed or too large.
    pub fn spoil(&self) {
        self.spoiled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed) >= MAX_SPOILED
    }

    /// The protocol was switched: what follows is no HTTP.
    pub fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }
}

impl Scan {
    pub(super) fn new(agreed: Agreed) -> Self {
        Self { agreed, state: State::Head(HeadScan::default()), heads: 0 }
    }

    /// Whether a head is awaited of which the parser knows nothing; `held` says that a part of it is there.
    pub(super) fn awaits_head(&self, held: bool) -> bool {
        matches!(self.state, State::Head(_)) && (self.heads == 0 || held)
    }

    /// Whether the peer has said nothing, or nothing but whole requests, so that nothing of it is still to come.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head(_) | State::Frames(_) | State::Opaque)
    }

    /// Bytes of fields of HTTP/2 since this was asked last.
    pub(super) fn take_fields(&mut self) -> usize {
        if let State::Frames(frames) = &mut self.state { frames.take_fields() } else { 0 }
    }

    pub(super) fn over(&self) -> Option<Over> {
        if let State::Over(over) = self.state { Some(over) } else { None }
    }

    /// The head under way is refused. Said once only, for nothing is looked at after it.
    pub(super) fn refuse(&mut self, reason: &'static str, verdict: &FramingVerdict) {
        verdict.refused.get_or_init(|| (self.heads, reason));
        self.state = State::Over(Over::Refused);
    }

    /// From here on the bytes are no HTTP.
    pub(super) fn switch(&mut self) {
        if !matches!(self.state, State::Over(_)) {
            self.state = State::Opaque;
        }
    }

    /// Ends a connection of HTTP/2, if that can be done here: between two frames. Gives what the parser is told.
    pub(super) fn give_up(&mut self) -> Option<&'static [u8]> {
        let between = matches!(&self.state, State::Frames(frames) if frames.is_between());
        between.then(|| {
            self.state = State::Over(Over::Flooded);
            Over::Flooded.instead()
        })
    }

    /// The peer took this many bytes, which pays for frames that say so.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let State::Frames(frames) = &mut self.state {
            frames.wrote(bytes);
        }
    }

    /// Looks at new bytes: how many may be handed on. What lies behind belongs to a head that is not whole, or is never
    /// handed on.
    pub(super) fn look(&mut self, bytes: &[u8], verdict: &FramingVerdict) -> usize {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return passed;
            }
            match &mut self.state {
                State::Opaque => return bytes.len(),
                State::Over(_) => return passed,
                State::Frames(frames) => {
                    let (taken, flooded) = frames.look(rest);
                    passed += taken;
                    match flooded {
                        None => {}
                        Some(Flood::BetweenFrames) => self.state = State::Over(Over::Flooded),
                        Some(Flood::Fields) => self.state = State::Over(Over::Broken("too many fields")),
                        Some(Flood::WithinHead) => self.state = State::Over(Over::Broken("too many frames")),
                    }
                }
                State::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= taken as u64;
                    passed += taken;
                    if *left == 0 {
                        self.state = State::Head(HeadScan::default());
                    }
                }
                State::Chunked(chunked) => {
                    let (taken, end) = chunked.look(rest);
                    passed += taken;
                    match end {
                        // The rest is a line that is not whole.
                        None if taken < rest.len() => return passed,
                        None => {}
                        Some(Ok(())) => self.state = State::Head(HeadScan::default()),
                        Some(Err(reason)) => {
                            // The head of this request is with the parser already.
                            verdict.broken.get_or_init(|| (self.heads, reason));
                            self.state = State::Over(Over::Broken(reason));
                        }
                    }
                }
                State::Head(_) => match self.head(rest, verdict) {
                    Some(length) => passed += length,
                    None => return passed,
                },
            }
        }
    }

    /// The next head, if all of it is here: its bytes.
    fn head(&mut self, bytes: &[u8], verdict: &FramingVerdict) -> Option<usize> {
        let State::Head(scan) = &mut self.state else { return None };
        let is_http2 = bytes.starts_with(PREFACE);
        let could_be = PREFACE.starts_with(bytes);
        if self.heads == 0
            && (self.agreed == Agreed::Http1 && is_http2 || self.agreed == Agreed::Http2 && !is_http2 && !could_be)
        {
            self.state = State::Over(Over::Broken("another protocol than was agreed on in the TLS handshake"));
            return None;
        }
        if self.heads == 0 && is_http2 {
            self.state = State::Frames(Frames::default());
            return Some(0);
        }
        if self.heads == 0 && could_be {
            return None;
        }
        match scan.look(bytes) {
            Scanned::Partial => None,
            Scanned::Whole(length, framing) => {
                self.heads += 1;
                self.state = match framing {
                    Framing::None => State::Head(HeadScan::default()),
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::Chunked(Chunked::default()),
                };
                Some(length)
            }
            Scanned::Refused(reason) => {
                self.refuse(reason, verdict);
                None
            }
        }
    }
}
