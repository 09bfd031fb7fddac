//! When a connection ends by itself. Its clock is part of the connection's task and runs whether or not anybody polls a
//! body: before the first request, between requests of HTTP/2, and while an answer of HTTP/1 is written that its client
//! does not read (of HTTP/2 the stream ends, [`end_stream_at`]). Between requests of HTTP/1 and within a head the
//! parser's and the guard's clocks run.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{Limits, connections::Place, executor::end_stream_at, framing::Backlog};
use crate::pipeline::{AnswerBody, BodyFault};

/// What happens on one connection.
pub(super) struct Pulse {
    limits: Limits,
    place: Place,
    backlog: Arc<Backlog>,
    /// Requests whose answer is not written yet.
    open: Cell<usize>,
    /// When nothing was open any more.
    idle_since: Cell<Instant>,
    /// Of the first request; none before it.
    version: Cell<Option<Version>>,
    /// A request was begun since the task of the connection had its turn.
    begun: Cell<bool>,
    /// When the answer that is being written ends; HTTP/1 has one at a time.
    ends_at: Cell<Option<Instant>>,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing was asked for too long.
    Idle,
    /// An answer was not taken in the rule's time.
    Unread,
}

/// A request that is being answered.
pub(super) struct Exchange(Rc<Pulse>);

/// The body of an answer; the exchange is over when it is dropped.
pub(super) struct Written {
    body: AnswerBody,
    exchange: Exchange,
    /// One stream of HTTP/2, which bounds what waits for it by itself.
    is_stream: bool,
}

impl Pulse {
    pub(super) fn new(limits: &Limits, place: Place) -> Rc<Self> {
        let idle_since = Cell::new(Instant::now());
        Rc::new(Self {
            limits: limits.clone(),
            place,
            backlog: Arc::default(),
            open: Cell::new(0),
            idle_since,
            version: Cell::new(None),
            begun: Cell::new(false),
            ends_at: Cell::new(None),
        })
    }

    /// The task of the connection has its turn.
    pub(super) fn turn(&self) {
        self.begun.set(false);
    }

    /// Lets others have their turn between two requests that came at once: what is refused needs no wait of its own, and
    /// a row of such requests would be answered to its end first.
    pub(super) async fn take_turns(&self) {
        if self.begun.replace(true) {
            tokio::task::yield_now().await;
        }
    }

    /// What waits for the client to take it.
    pub(super) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    pub(super) fn begin(self: &Rc<Self>, version: Version) -> Exchange {
        if self.version.get().is_none() {
            self.version.set(Some(version));
            self.place.spoke();
        }
        self.open.set(self.open.get().saturating_add(1));
        Exchange(Rc::clone(self))
    }

    /// The moment at which the connection has to end, as things are.
    fn due(&self) -> Option<(Instant, Over)> {
        match (self.version.get(), self.open.get()) {
            (None, _) => Some((self.idle_since.get() + self.limits.head, Over::Idle)),
            (Some(Version::HTTP_2), 0) => Some((self.idle_since.get() + self.limits.idle, Over::Idle)),
            (Some(_), _) => self.ends_at.get().map(|ends_at| (ends_at, Over::Unread)),
        }
    }

    /// Resolves when the connection has to end. To be polled beside the connection, in the same task: whatever moves
    /// the moment happens there.
    pub(super) async fn over(&self) -> Over {
        let mut alarm = std::pin::pin!(tokio::time::sleep(self.limits.head));
        poll_fn(|cx| self.poll_over(alarm.as_mut(), cx)).await
    }

    /// The alarm may ring early: it is set again only when it rings or when it would ring too late, and not for each
    /// request.
    fn poll_over(&self, mut alarm: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            let Some((due, over)) = self.due() else { return Poll::Pending };
            if alarm.deadline() > due {
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(over);
            }
            alarm.as_mut().reset(due);
        }
    }
}

impl Exchange {
    /// The answer has begun. It ends with the exchange at the rule's deadline, whether the client reads or not; one of
    /// ours, which needs no application, in the time of a head.
    pub(super) fn written(self, body: AnswerBody) -> Written {
        let ends_at = body.deadline().unwrap_or_else(|| Instant::now() + self.0.limits.head);
        let is_stream = end_stream_at(ends_at);
        if !is_stream {
            self.0.ends_at.set(Some(ends_at));
        }
        Written { body, exchange: self, is_stream }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let open = self.0.open.get().saturating_sub(1);
        self.0.open.set(open);
        if open == 0 {
            self.0.ends_at.set(None);
            self.0.idle_since.set(Instant::now());
        }
    }
}

impl Body for Written {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.get_mut();
        if this.is_stream {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        let backlog = &this.exchange.0.backlog;
        ready!(backlog.poll_room(cx));
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            backlog.handed(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
