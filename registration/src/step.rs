//! One call, or one act on the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step of a plan. All but [`Step::Create`] may be repeated without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// POST to the registration endpoint (RFC 7591 section 3.1). Not idempotent: each call makes a client.
    Create,
    /// DELETE on the management address (RFC 7592 section 2.3).
    Delete,
    /// Remove the journal entry; the server is not called.
    Forget,
    /// GET on the management address (RFC 7592 section 2.1). May bring a new registration token.
    Read,
    /// PUT on the management address (RFC 7592 section 2.2): replaces all metadata. May bring a new token.
    Update,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Forget => "forget",
            Self::Read => "read",
            Self::Update => "update",
        })
    }
}
