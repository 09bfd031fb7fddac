//! One call, or one act on the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step of a plan. All but [`Step::Create`] and [`Step::Replace`] may be repeated without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Give up a client that cannot be managed and may be alive; it is reported. The server is not called.
    Abandon,
    /// Make a key of the client's own and remember it; the server is not called.
    AddKey,
    /// POST to the registration endpoint (RFC 7591 section 3.1). Not idempotent: each call makes a client.
    Create,
    /// DELETE on the management address (RFC 7592 section 2.3).
    Delete,
    /// Strike a client out that is proven gone; the server is not called.
    Discard,
    /// Forget keys whose time is over; the server is not called.
    DropKeys,
    /// Remove the journal entry; the server is not called.
    Forget,
    /// Ask the token endpoint whether the client is alive.
    Probe,
    /// GET on the management address (RFC 7592 section 2.1). May bring a new registration token.
    Read,
    /// POST like [`Step::Create`], for a second client that takes over from the first.
    Replace,
    /// DELETE of a client that was replaced.
    Retire,
    /// PUT on the management address (RFC 7592 section 2.2): replaces all metadata. May bring a new token.
    Update,
}

impl Step {
    /// Whether each call makes a client.
    pub(crate) fn makes_a_client(self) -> bool {
        matches!(self, Self::Create | Self::Replace)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abandon => "abandon",
            Self::AddKey => "add a key",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Discard => "discard",
            Self::DropKeys => "drop old keys",
            Self::Forget => "forget",
            Self::Probe => "probe",
            Self::Read => "read",
            Self::Replace => "replace",
            Self::Retire => "retire",
            Self::Update => "update",
        })
    }
}
