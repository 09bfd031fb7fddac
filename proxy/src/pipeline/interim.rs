//! Interim answers of the application on their way to a client of HTTP/1.1 (RFC 9110 section 15.2, RFC 8297). The parser
//! of the client's side can say only final answers, so that these are written between its messages, as bytes.
//!
//! INVARIANT: an interim answer is written before the first byte of the final one, or not at all.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::VIA};

use super::{RequestBody, hop};
use crate::bounds::Bound;

/// Interim answers of one exchange that pass.
const MAX_INTERIM: usize = 8;

/// Bytes of them that wait for the client at the most.
const MAX_INTERIM_BYTES: usize = 16 * 1024;

/// What waits to be written to one connection.
#[derive(Default)]
pub struct Interim {
    /// The final answer is awaited, and its client may get others before.
    open: AtomicBool,
    /// Something waits in `heads`.
    waiting: AtomicBool,
    taken: AtomicUsize,
    heads: Mutex<Vec<u8>>,
    writer: AtomicWaker,
}

impl Interim {
    /// From here on interim answers to this request pass.
    pub(super) fn expect(self: &Arc<Self>, request: &mut Request<RequestBody>) {
        self.taken.store(0, Ordering::Relaxed);
        self.open.store(true, Ordering::Release);
        let interim = Arc::clone(self);
        hyper::ext::on_informational(request, move |answer| interim.put(answer.status(), answer.headers()));
    }

    /// The final answer is there: what comes after it is nothing that the client waits for.
    pub(super) fn end(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// 100 is said by whoever reads the body, 101 is a final answer.
    fn put(&self, status: StatusCode, headers: &HeaderMap) {
        let passes = matches!(status.as_u16(), 102..=199) && self.open.load(Ordering::Acquire);
        if !passes || self.taken.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM {
            return;
        }
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let head = head(status, headers);
        if heads.len().saturating_add(head.len()) <= MAX_INTERIM_BYTES {
            heads.extend_from_slice(&head);
            self.waiting.store(true, Ordering::Release);
            self.writer.wake();
        }
    }

    /// Whoever writes to the client is woken when something waits.
    pub(crate) fn register(&self, writer: &Waker) {
        if self.open.load(Ordering::Acquire) {
            self.writer.register(writer);
        }
    }

    /// Takes what waits, if anything does.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        if !self.waiting.swap(false, Ordering::AcqRel) {
            return None;
        }
        Some(std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Bytes of another message stand before: what waits for an exchange that has its final answer is too late.
    pub(crate) fn discard_late(&self) {
        if !self.open.load(Ordering::Acquire) {
            drop(self.take());
        }
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").field("open", &self.open).finish_non_exhaustive()
    }
}

/// A head in HTTP/1.1 (RFC 9112 section 4). Names and values were parsed, and hold no line break.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut fields = headers.clone();
    hop::strip(&mut fields);
    // Of no message without content.
    fields.remove(http::header::CONTENT_LENGTH);
    fields.append(VIA, HeaderValue::from_static("1.1 portreeve"));
    let mut head =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
    for (name, value) in &fields {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// What docs/limits.md tells of them.
pub(crate) fn bound() -> Bound {
    Bound {
        state: "interim answers (1xx) of the application",
        bound: format!("{MAX_INTERIM} for each exchange, {} KiB that wait", MAX_INTERIM_BYTES / 1024),
        beyond: "not forwarded; the final answer is",
        test: "their_number_and_their_bytes_are_bounded",
        ..Bound::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Arc<Interim> {
        let interim = Arc::new(Interim::default());
        interim.expect(&mut Request::new(RequestBody::Empty));
        interim
    }

    #[test]
    fn only_what_the_client_waits_for_passes_and_nothing_of_the_connection() {
        let headers: HeaderMap = [("link", "</a.css>"), ("connection", "x-a"), ("x-a", "b"), ("content-length", "3")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect();
        let interim = open();
        interim.put(StatusCode::CONTINUE, &headers);
        interim.put(StatusCode::SWITCHING_PROTOCOLS, &headers);
        assert_eq!(interim.take(), None);
        interim.put(StatusCode::EARLY_HINTS, &headers);
        let expected = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\nvia: 1.1 portreeve\r\n\r\n";
        assert_eq!(interim.take().unwrap(), expected.as_bytes());
        interim.put(StatusCode::PROCESSING, &HeaderMap::new());
        interim.end();
        interim.discard_late();
        interim.put(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(interim.take(), None);
    }

    #[test]
    fn their_number_and_their_bytes_are_bounded() {
        let interim = open();
        for _ in 0..100 {
            interim.put(StatusCode::PROCESSING, &HeaderMap::new());
        }
        let text = String::from_utf8(interim.take().unwrap()).unwrap();
        assert_eq!(text.matches("102 Processing").count(), MAX_INTERIM);
        let interim = open();
        let large: HeaderMap = [("link".parse().unwrap(), "x".repeat(6 * 1024).parse().unwrap())].into_iter().collect();
        for _ in 0..MAX_INTERIM {
            interim.put(StatusCode::EARLY_HINTS, &large);
        }
        assert!((1..=MAX_INTERIM_BYTES).contains(&interim.take().unwrap().len()));
    }
}
