//! What a caller may do: conditions on caller, request, place and time. All of them must hold.

mod addresses;
mod cedar;
mod claims;
mod external;
mod hours;
mod request;
mod scopes;

pub use addresses::AddressRule;
pub use cedar::{CEDAR_ACTIONS, CEDAR_PRINCIPAL, CedarRead, CedarRule, ClaimAttribute, ClaimType};
pub use claims::{ClaimPath, ClaimRule, ClaimTest, InvalidClaimPath, NumberRange, Scalar};
pub use external::{DecisionProtocol, ExternalRule, FailureMode};
pub use hours::{Date, Hours, InvalidHours, TimeOfDay, TimeZoneName, Weekday, Window};
pub use request::{HeaderRule, HeaderTest, ParameterRule, ParameterTest, RequestRule};
pub use scopes::{InvalidScope, Scope, ScopeRule};

use serde::{Deserialize, Serialize};

/// The decision that follows authentication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Authorization {
    /// Whoever authentication lets through.
    Anyone,
    /// Every one of these must hold; they are judged in this order, cheap ones first.
    AllOf(Vec<Condition>),
}

/// One block of a policy's authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Condition {
    /// Method, path parameters, headers.
    Request(RequestRule),
    /// Where the client is.
    Addresses(AddressRule),
    /// When it asks.
    Hours(Hours),
    /// The token's scopes.
    Scopes(ScopeRule),
    /// The caller's claims; each rule must hold.
    Claims(Vec<ClaimRule>),
    /// Attribute rules in Cedar.
    Cedar(Box<CedarRule>),
    /// A decision point outside.
    External(Box<ExternalRule>),
}

/// What comes of judging a condition. Only [`Judgement::Holds`] lets a request go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// It holds.
    Holds,
    /// It does not hold.
    Fails,
    /// It cannot be judged: what it looks at is missing in a way that says nothing, or of another type.
    Fault,
}

impl Authorization {
    /// Every condition.
    pub fn conditions(&self) -> &[Condition] {
        match self {
            Self::Anyone => &[],
            Self::AllOf(conditions) => conditions,
        }
    }

    /// Whether nobody could ever satisfy it, only somebody.
    pub fn needs_caller(&self) -> bool {
        self.conditions().iter().any(Condition::needs_caller)
    }

    /// The same without what nobody could satisfy.
    #[must_use]
    pub fn without_caller(&self) -> Self {
        let kept: Vec<_> = self.conditions().iter().filter(|condition| !condition.needs_caller()).cloned().collect();
        if kept.is_empty() { Self::Anyone } else { Self::AllOf(kept) }
    }
}

impl Condition {
    /// Whether it looks at the caller.
    pub fn needs_caller(&self) -> bool {
        match self {
            Self::Scopes(_) | Self::Claims(_) | Self::Cedar(_) | Self::External(_) => true,
            Self::Request(rule) => rule.needs_caller(),
            Self::Addresses(_) | Self::Hours(_) => false,
        }
    }
}

impl Judgement {
    /// Holds or fails.
    pub fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }

    /// The first of several that does not hold; [`Judgement::Holds`] when all do.
    pub fn all(judgements: impl IntoIterator<Item = Self>) -> Self {
        judgements.into_iter().find(|judgement| *judgement != Self::Holds).unwrap_or(Self::Holds)
    }
}
