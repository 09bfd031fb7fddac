//! How the caller sends a request. This crate opens no connection.

use std::future::Future;

use crate::error::sanitise;

/// How far a request came that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The caller's own guard refused the address; nothing was sent, and only an edit helps.
    Blocked,
    /// Certainly not sent: no address, no connection, no TLS.
    NotSent,
    /// It may have reached the server: a time limit, a broken connection, an answer too large to read.
    Unknown,
}

/// A request without an answer. The detail is for people and must hold no secret; control characters are taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no answer ({delivery:?}): {detail}")]
pub struct TransportError {
    delivery: Delivery,
    detail: String,
}

/// Sends one request to the token service.
///
/// What must hold: redirects are not followed; the body of the answer is read up to [`crate::MAX_ANSWER`] bytes, or one
/// more, so that a larger one is seen; each call has a time limit; neither request nor answer is logged, for both hold
/// secrets (the `Authorization` value is marked as sensitive). When in doubt whether a request reached the server, say
/// [`Delivery::Unknown`]: a wrong [`Delivery::NotSent`] after a create hides an orphan.
pub trait Transport: Sync {
    /// Sends the request and reads the whole answer, whatever its status.
    fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> impl Future<Output = Result<http::Response<Vec<u8>>, TransportError>> + Send;
}

// === impl TransportError ===

impl TransportError {
    /// Names how far the request came, with a detail such as `connection refused`.
    pub fn new(delivery: Delivery, detail: &str) -> Self {
        Self { delivery, detail: sanitise(detail, 256) }
    }

    /// How far the request came.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }
}
