//! Bodies of requests on their way to the application.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{UpstreamFault, hop};

/// Body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// None, whatever the client sent.
    Empty,
    /// The client's, as it comes.
    Client(Incoming, Upload),
}

/// Whether a body waits for its client. A connection has one to lend, so that requests one after the other need no
/// other.
#[derive(Debug, Clone, Default)]
pub struct Upload(Rc<Cell<bool>>);

impl Upload {
    /// This one if no request has it.
    pub(super) fn lend(&self) -> Self {
        if Rc::strong_count(&self.0) > 1 {
            return Self::default();
        }
        self.0.set(false);
        self.clone()
    }

    /// Time that passed while the client was to send was not taken by the application.
    pub(super) fn blame(&self, fault: UpstreamFault) -> UpstreamFault {
        if fault == UpstreamFault::Timeout && self.0.get() { UpstreamFault::SlowBody } else { fault }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(body, upload) => {
                let mut polled = Pin::new(body).poll_frame(cx);
                upload.0.set(polled.is_pending());
                if let Poll::Ready(Some(Ok(frame))) = &mut polled
                    && let Some(trailers) = frame.trailers_mut()
                {
                    hop::strip_request_trailers(trailers);
                    if trailers.is_empty() {
                        return Poll::Ready(None);
                    }
                }
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
