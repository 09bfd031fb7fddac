//! Bodies of requests on their way to the application, and those that nobody reads to their end.
//!
//! A client of HTTP/1 that still sends when it gets its answer must learn whether the connection can be used again (RFC
//! 9112 sections 9.3 and 9.6): what is short is read and thrown away, otherwise the answer says `Connection: close`.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{CONNECTION, EXPECT},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{AnswerBody, Connection, Denial, UpstreamFault, hop};

/// Body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// None, whatever the client sent.
    Empty,
    /// The client's, as it comes.
    Client(Incoming, Upload),
}

/// Where a body stands. A connection has one to lend, so that requests one after the other need no other.
#[derive(Debug, Clone, Default)]
pub struct Upload(Rc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    /// The client is to send.
    waits: Cell<bool>,
    ended: Cell<bool>,
}

/// The body of a request until somebody takes it.
pub(super) struct Unread {
    body: Option<Incoming>,
    upload: Upload,
    version: Version,
    /// The client waits for a word before it sends (RFC 9110 section 10.1.1).
    expects: bool,
}

/// Bytes of a body that are read and thrown away, so that the connection can be used again; and the time for it.
pub(crate) const MAX_DISCARDED: usize = 64 * 1024;
pub(crate) const DISCARD_TIME: Duration = Duration::from_secs(5);

impl Upload {
    /// This one if no request has it.
    fn lend(&self, ended: bool) -> Self {
        let lent = if Rc::strong_count(&self.0) > 1 { Self::default() } else { self.clone() };
        lent.0.waits.set(false);
        lent.0.ended.set(ended);
        lent
    }
}

impl Unread {
    pub(super) fn new(body: Incoming, parts: &Parts, connection: &Connection) -> Self {
        Self {
            upload: connection.upload.lend(body.is_end_stream()),
            version: parts.version,
            expects: parts.headers.contains_key(EXPECT),
            body: Some(body),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The body, for the application.
    pub(super) fn take(&mut self) -> RequestBody {
        match self.body.take() {
            Some(body) => RequestBody::Client(body, self.upload.clone()),
            None => RequestBody::Empty,
        }
    }

    /// Whose fault it was, as far as the body tells: time that passed while the client was to send was not taken by the
    /// application.
    pub(super) fn blame(&self, fault: UpstreamFault, connection: &Connection) -> Denial {
        match (fault, connection.framing.of_this_body()) {
            (UpstreamFault::RequestBody, Some(reason)) => Denial::of_framing(reason),
            (UpstreamFault::Timeout, _) if self.upload.0.waits.get() => Denial::Upstream(UpstreamFault::SlowBody),
            (fault, _) => Denial::Upstream(fault),
        }
    }

    /// The answer is there. If the body has not ended, it is read to its end or the client is told to go.
    pub(super) fn settle(self, answer: &mut Response<AnswerBody>) {
        if self.version == Version::HTTP_2 || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let is_short = |body: &Incoming| body.size_hint().exact().is_some_and(|bytes| bytes <= MAX_DISCARDED as u64);
        match self.body {
            Some(body) if body.is_end_stream() => {}
            Some(body) if is_short(&body) && !self.expects => drop(tokio::task::spawn_local(discard(body))),
            None if self.upload.0.ended.get() => {}
            Some(_) | None => drop(answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"))),
        }
    }
}

/// One that takes too long is dropped, and the connection is closed with it.
async fn discard(mut body: Incoming) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    drop(tokio::time::timeout(DISCARD_TIME, all).await);
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body, upload) => {
                let mut polled = Pin::new(&mut *body).poll_frame(cx);
                upload.0.waits.set(polled.is_pending());
                if let Poll::Ready(Some(Ok(frame))) = &mut polled
                    && let Some(trailers) = frame.trailers_mut()
                {
                    hop::strip_request_trailers(trailers);
                    if trailers.is_empty() {
                        polled = Poll::Ready(None);
                    }
                }
                let ended = match &polled {
                    Poll::Ready(None) => true,
                    // Trailers are last.
                    Poll::Ready(Some(Ok(frame))) => !frame.is_data() || body.is_end_stream(),
                    Poll::Ready(Some(Err(_))) | Poll::Pending => false,
                };
                upload.0.ended.set(ended);
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(body, _) => body.size_hint(),
        }
    }
}
