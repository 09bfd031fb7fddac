//! The way to the application, as the pipeline sees it.

use std::future::Future;

use http::{Request, Response};
use portreeve_policy::{Reason, Upstream};
use tokio::time::Instant;

use super::{AnswerBody, RequestBody};
use crate::{authz::Permitted, peer::Peer};

/// Sends a permitted request to the application.
pub trait Dispatch {
    /// Resolves with the head of the answer; its body is still to come.
    fn send(
        &self,
        upstream: &Upstream,
        lane: Lane,
        request: Permitted<Request<RequestBody>>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response<AnswerBody>, UpstreamFault>>;
}

/// Which connections to the application a request uses, and whose share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Those of decided requests: the route's `maxConnections`.
    Exchange(Peer),
    /// Those of preflights, whose sender nobody knows.
    Preflight(Peer),
}

/// Why the application gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// Nobody listens, or the connection broke before anything was sent.
    #[error("no connection to the application")]
    Connect,
    /// Every connection that may be opened is in use.
    #[error("every connection to the application is in use")]
    Overloaded,
    /// What came back is no HTTP.
    #[error("the application's answer is not valid HTTP, or broke off")]
    Protocol,
    /// The client's body broke off.
    #[error("the client's request body broke off")]
    RequestBody,
    /// The rule's timeout passed, and the client had not sent its body.
    #[error("the rule's timeout passed before the client had sent its body")]
    SlowBody,
    /// The rule's timeout passed.
    #[error("the rule's timeout passed before the application answered")]
    Timeout,
}

impl UpstreamFault {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Connect => Reason::UpstreamUnreachable,
            Self::Overloaded => Reason::UpstreamOverloaded,
            Self::Protocol => Reason::UpstreamProtocolError,
            Self::RequestBody => Reason::IncompleteRequestBody,
            Self::SlowBody => Reason::SlowRequestBody,
            Self::Timeout => Reason::UpstreamTimeout,
        }
    }
}
