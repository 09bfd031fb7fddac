//! Bodies of answers: streamed, never buffered, with the deadline of the whole request. Whoever writes an answer keeps
//! the deadline, for a body that nobody polls cannot.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::hop;

/// Body of an answer.
pub enum AnswerBody {
    /// Ours, whole.
    Full(Full<Bytes>),
    /// The application's, as it comes.
    Upstream(Box<UpstreamBody>),
}

/// A body from the application, and what is to happen when it ends.
pub struct UpstreamBody {
    incoming: Incoming,
    deadline: Instant,
    bytes: u64,
    at_end: Option<AtEnd>,
    /// Called once with the bytes of the body and whether it came to its end.
    observer: Option<Box<dyn FnOnce(u64, bool)>>,
}

/// Called once with whether the body came to its end: an early end closes the upstream connection.
pub type AtEnd = Box<dyn FnOnce(bool)>;

/// Why a body breaks off.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// The application's connection broke.
    #[error(transparent)]
    Upstream(#[from] hyper::Error),
}

impl AnswerBody {
    /// A body that is known as a whole.
    pub fn full(bytes: Bytes) -> Self {
        Self::Full(Full::new(bytes))
    }

    /// A body from the application.
    pub fn upstream(incoming: Incoming, deadline: Instant, at_end: AtEnd) -> Self {
        let mut at_end = Some(at_end);
        if incoming.is_end_stream() {
            at_end.take().into_iter().for_each(|at_end| at_end(true));
        }
        Self::Upstream(Box::new(UpstreamBody { incoming, deadline, bytes: 0, at_end, observer: None }))
    }

    /// The empty body of an answer after which another protocol is spoken on the connection: that is not its end.
    pub fn switching(incoming: Incoming, deadline: Instant, at_end: AtEnd) -> Self {
        Self::Upstream(Box::new(UpstreamBody { incoming, deadline, bytes: 0, at_end: Some(at_end), observer: None }))
    }

    /// What is to be called at the end of what goes on without the body.
    pub(super) fn take_end(&mut self) -> Option<AtEnd> {
        match self {
            Self::Full(_) => None,
            Self::Upstream(body) => body.at_end.take(),
        }
    }
}

impl AnswerBody {
    /// When the exchange with the application ends, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Upstream(body) => Some(body.deadline),
            Self::Full(_) => None,
        }
    }

    /// Has somebody told how many bytes there were, and whether that was all.
    pub fn observe(&mut self, observer: Box<dyn FnOnce(u64, bool)>) {
        match self {
            Self::Upstream(body) if !body.incoming.is_end_stream() => body.observer = Some(observer),
            Self::Upstream(_) => observer(0, true),
            Self::Full(full) => observer(full.size_hint().exact().unwrap_or(0), true),
        }
    }
}

impl UpstreamBody {
    fn finish(&mut self, whole: bool) {
        let bytes = self.bytes;
        self.observer.take().into_iter().for_each(|observer| observer(bytes, whole));
        self.at_end.take().into_iter().for_each(|at_end| at_end(whole));
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        self.finish(false);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(body) => {
                let mut polled = Pin::new(&mut body.incoming).poll_frame(cx);
                if let Poll::Ready(Some(Ok(frame))) = &mut polled {
                    frame.trailers_mut().into_iter().for_each(hop::strip_answer_trailers);
                    body.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                match &polled {
                    Poll::Ready(None) => body.finish(true),
                    Poll::Ready(Some(Ok(_))) if body.incoming.is_end_stream() => body.finish(true),
                    Poll::Ready(Some(Err(_))) => body.finish(false),
                    Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
                }
                polled.map_err(BodyFault::from)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Upstream(body) => body.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Upstream(body) => body.incoming.size_hint(),
        }
    }
}
