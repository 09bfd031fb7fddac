//! Who a stream comes from.

use std::{future::Future, pin::Pin, sync::Arc};

use portreeve_policy::NamespacedName;

use crate::clock::UnixMillis;

/// A pod that proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenPod {
    /// Its name.
    pub(crate) name: NamespacedName,
    /// Its uid.
    pub(crate) uid: String,
    /// When the proof expires, if it says so.
    pub(crate) expires_at: Option<UnixMillis>,
}

/// Why a proof does not count, and what to do about it. Never holds the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthenticationError {
    /// The proof is bad.
    #[error("{0}")]
    Refused(String),
    /// Nobody could be asked; the proxy is to try again.
    #[error("{0}")]
    Unavailable(String),
}

/// The answer to a review, later.
pub(crate) type Review = Pin<Box<dyn Future<Output = Result<ProvenPod, AuthenticationError>> + Send>>;

/// How a stream says who it is.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Whoever can open the socket is believed.
    Socket,
    /// A ServiceAccount token, looked at by this function.
    Token(Arc<dyn Fn(String) -> Review + Send + Sync>),
}
