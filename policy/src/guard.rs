//! What it takes to pass a rule: every block of its policies, none of them optional. A block that no policy sets has a
//! value of its own that says so.

use serde::{Deserialize, Serialize};

use crate::{Authentication, Authorization, Limits, NamespacedName, Reason, SecretName};

/// A rule that is enforced, or one that refuses everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RuleState {
    /// Requests that satisfy every block pass.
    Ready(Guard),
    /// No request passes, since the rule's policy cannot be enforced.
    Refusing(Refusal),
}

/// The blocks of a rule, in the order in which they are enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guard {
    /// Who calls.
    pub authentication: Authentication,
    /// What the caller may do.
    pub authorization: Authorization,
    /// How often.
    pub limits: Limits,
}

/// Why a rule refuses everything; the answer is 503 with this reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// For machines.
    pub reason: RefusalReason,
    /// For people; names objects, never secrets. It is recorded, not sent to the caller.
    pub message: String,
}

/// Why a rule refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalReason {
    /// The route was closed by its annotation.
    Closed,
    /// An older route has the same host, path and one of the methods.
    Conflicted,
    /// A policy that applies to the rule is invalid.
    InvalidPolicy,
    /// Neither rule, route nor namespace has a policy that says who may call.
    NoPolicy,
    /// The route itself is invalid.
    InvalidRoute,
    /// Something that the policy refers to is missing, not allowed or invalid.
    UnresolvedReference,
}

// === impl RuleState ===

impl RuleState {
    /// The blocks, unless the rule refuses everything.
    pub fn guard(&self) -> Option<&Guard> {
        match self {
            Self::Ready(guard) => Some(guard),
            Self::Refusing(_) => None,
        }
    }

    /// Header fields that any block looks at.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        self.guard().into_iter().flat_map(Guard::watched_fields)
    }
}

// === impl Guard ===

impl Guard {
    /// The token services that are asked or whose keys count.
    pub fn token_services(&self) -> impl Iterator<Item = &NamespacedName> {
        self.authentication.token_services()
    }

    /// The secrets without which it cannot be enforced.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.authentication.secrets()
    }

    /// Header fields that any block looks at.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        let blocks = self.authentication.watched_fields().chain(self.authorization.watched_fields());
        blocks.chain(self.limits.watched_fields())
    }
}

// === impl RefusalReason ===

impl From<RefusalReason> for Reason {
    fn from(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::Closed => Self::Closed,
            RefusalReason::Conflicted => Self::Conflicted,
            RefusalReason::InvalidPolicy => Self::InvalidPolicy,
            RefusalReason::InvalidRoute => Self::InvalidRoute,
            RefusalReason::NoPolicy => Self::NoPolicy,
            RefusalReason::UnresolvedReference => Self::UnresolvedReference,
        }
    }
}
