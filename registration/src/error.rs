//! Why a registration could not be brought to its desired state, and when to try again.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::{Delivery, InvalidAnswer, JournalError, JournalFault, KeyFault, Secret, Step, TransportError};

/// When it makes sense to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// After this time, as the server asked; at most one hour.
    After(Duration),
    /// With the caller's own backoff.
    Later,
    /// Only an edit helps, of the object, of a Secret or at the server; the caller reports `Stalled`.
    Never,
}

/// An error answer (RFC 7591 section 3.2.2), safe to show: bounded, without control characters, and without any secret
/// that was part of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// e.g. `invalid_redirect_uri`, `invalid_client_metadata`; at most 64 characters.
    pub error: String,
    /// The server's explanation, at most 256 characters; empty when it gave none.
    pub description: String,
}

/// Why a client cannot be managed by RFC 7592.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unmanageable {
    /// 405 or 501: the server does not do this step (RFC 7592 section 2.3).
    #[error("the server does not support it")]
    NotSupported,
    /// The server gave no registration_access_token.
    #[error("the server gave no registration_access_token")]
    NoToken,
    /// The server gave no registration_client_uri.
    #[error("the server gave no registration_client_uri")]
    NoUri,
    /// The server gave a relative registration_client_uri.
    #[error("the server's registration_client_uri is relative; RFC 7592 section 3 wants it whole")]
    RelativeUri,
}

/// What went wrong, and whose fault it is. No variant holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The client is at another issuer than the one that is wanted now; only people can say that it is given up.
    #[error("client {client_id} is registered at {registered_at}, not at {wanted}")]
    AnotherIssuer {
        /// The client.
        client_id: String,
        /// Where it is.
        registered_at: String,
        /// Where it should be.
        wanted: String,
    },
    /// 429, or 503 with `Retry-After`: the server refused for now and did nothing.
    #[error("the token service is busy ({status})")]
    Busy {
        /// The status.
        status: StatusCode,
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    /// No key could be made.
    #[error("{0}")]
    Key(#[from] KeyFault),
    /// The token endpoint did not say whether the client is alive.
    #[error("the token service did not say whether client {client_id} is alive")]
    ProbeUnclear {
        /// The client.
        client_id: String,
    },
    /// The management address is not on the origin of the registration endpoint; no token was sent.
    #[error("the management address is on {found}, the registration endpoint on {expected}; no token was sent")]
    ForeignOrigin {
        /// Origin of the registration endpoint.
        expected: String,
        /// Origin of the management address.
        found: String,
    },
    /// The initial access token was refused (401, 403), or is missing (RFC 7591 section 3).
    #[error("the token service refused the initial access token ({status})")]
    InitialTokenRefused {
        /// The status.
        status: StatusCode,
        /// The server's explanation.
        server: Option<ServerError>,
    },
    /// The answer is not one of this protocol.
    #[error("{step}: {fault}")]
    InvalidAnswer {
        /// The step.
        step: Step,
        /// What is wrong with the answer.
        fault: InvalidAnswer,
    },
    /// The journal could not be read or written, before anything was sent.
    #[error("the journal failed")]
    Journal(#[from] JournalError),
    /// 401 with every registration token that we hold: the token is bad, or the client is gone (RFC 7592 section 2.1
    /// does not tell them apart). See [`crate::JournalEntry::abandon`] for the way on.
    #[error("the token service refuses the registration token of client {client_id}{}", lost(*rotation_lost))]
    LockedOut {
        /// The client.
        client_id: String,
        /// An earlier call has no recorded answer, and may have brought a token that is lost.
        rotation_lost: bool,
    },
    /// 404 or 410 to a read or an update: the management address is gone, and so, probably, is the client.
    #[error("the token service has no client {client_id}")]
    Missing {
        /// The client.
        client_id: String,
    },
    /// The server refused the metadata or the step, e.g. 400 `invalid_client_metadata`.
    #[error("{step} refused ({status}){}", explained(server.as_ref()))]
    Refused {
        /// The step.
        step: Step,
        /// The status.
        status: StatusCode,
        /// The server's explanation.
        server: Option<ServerError>,
    },
    /// There is no answer.
    #[error("the token service did not answer")]
    Transport(#[from] TransportError),
    /// A server error. The server may or may not have acted.
    #[error("the token service failed ({status})")]
    Unavailable {
        /// The status.
        status: StatusCode,
    },
    /// The client cannot be managed.
    #[error("{step} is not possible: {reason}")]
    Unmanageable {
        /// The step.
        step: Step,
        /// Why.
        reason: Unmanageable,
    },
    /// The server acted, but the journal did not take the result. After a create, `undone` says that the new client was
    /// deleted again at once; otherwise the next run reports a possible orphan. After a read or an update a new
    /// registration token may be lost.
    #[error("{step} was answered, but the journal did not take the result")]
    Unrecorded {
        /// The step.
        step: Step,
        /// Why the journal did not take it.
        source: JournalError,
        /// The new client was deleted again.
        undone: bool,
    },
    /// A token or an address cannot be written into a request.
    #[error("{0} cannot be sent in a request")]
    Unsendable(&'static str),
    /// Planning found no end; a fault of this crate.
    #[error("the plan found no end")]
    Unsettled,
}

/// Longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_hours(1);

fn lost(rotation_lost: bool) -> &'static str {
    if rotation_lost { " (a newer one may have been lost with an answer)" } else { "" }
}

fn explained(server: Option<&ServerError>) -> String {
    server.map_or_else(String::new, |ServerError { error, description }| format!(": {error} {description}"))
}

// === impl Error ===

impl Error {
    /// When to try again. A create whose answer could not be read is not repeated by itself, because each repetition
    /// would leave one more client behind.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Busy { retry_after: Some(wait), .. } if !wait.is_zero() => Retry::After((*wait).min(MAX_WAIT)),
            Self::InvalidAnswer { step, .. } if !step.makes_a_client() => Retry::Later,
            Self::Busy { .. }
            | Self::Key(_)
            | Self::ProbeUnclear { .. }
            | Self::Unavailable { .. }
            | Self::Unsettled => Retry::Later,
            Self::Journal(source) | Self::Unrecorded { source, .. } => match source.fault() {
                JournalFault::Corrupt | JournalFault::Refused => Retry::Never,
                JournalFault::Conflict | JournalFault::Unavailable => Retry::Later,
            },
            Self::Transport(error) => match error.delivery() {
                Delivery::Blocked => Retry::Never,
                Delivery::NotSent | Delivery::Unknown => Retry::Later,
            },
            Self::AnotherIssuer { .. }
            | Self::ForeignOrigin { .. }
            | Self::InitialTokenRefused { .. }
            | Self::InvalidAnswer { .. }
            | Self::LockedOut { .. }
            | Self::Missing { .. }
            | Self::Refused { .. }
            | Self::Unmanageable { .. }
            | Self::Unsendable(_) => Retry::Never,
        }
    }

    /// Whether the server may have done what was asked. If so, the intent stays in the journal.
    pub(crate) fn may_have_acted(&self) -> bool {
        match self {
            Self::InvalidAnswer { .. } | Self::Unavailable { .. } | Self::Unrecorded { .. } => true,
            Self::Transport(error) => match error.delivery() {
                Delivery::Blocked | Delivery::NotSent => false,
                Delivery::Unknown => true,
            },
            Self::AnotherIssuer { .. }
            | Self::Busy { .. }
            | Self::ForeignOrigin { .. }
            | Self::Key(_)
            | Self::ProbeUnclear { .. }
            | Self::InitialTokenRefused { .. }
            | Self::Journal(_)
            | Self::LockedOut { .. }
            | Self::Missing { .. }
            | Self::Refused { .. }
            | Self::Unmanageable { .. }
            | Self::Unsendable(_)
            | Self::Unsettled => false,
        }
    }
}

// === impl ServerError ===

impl ServerError {
    /// Reads an error body; `None` when it is not one. A text that repeats one of `secrets` is withheld.
    pub(crate) fn parse(body: &[u8], secrets: &[&Secret]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            #[serde(default)]
            error_description: Option<String>,
        }
        if body.len() > crate::MAX_ANSWER {
            return None;
        }
        let Body { error, error_description } = serde_json::from_slice(body).ok()?;
        let show = |text: &str, max| {
            let held = secrets.iter().any(|secret| !secret.expose().is_empty() && text.contains(secret.expose()));
            if held { "(withheld)".to_owned() } else { sanitise(text, max) }
        };
        Some(Self { error: show(&error, 64), description: show(error_description.as_deref().unwrap_or_default(), 256) })
    }
}

/// At most `max` characters, none of them a control character or a mark that turns the direction of text.
pub(crate) fn sanitise(text: &str, max: usize) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { ' ' } else { c }).take(max).collect()
}
