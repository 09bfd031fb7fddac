//! The proof that a request may go on, and what stands against it.

use http::{HeaderName, HeaderValue};
use portreeve_policy::Reason;

/// Proof that every condition held.
#[derive(Debug)]
pub struct Permit {
    headers: Vec<(HeaderName, HeaderValue)>,
    failed_open: bool,
}

/// A value that may go upstream. Only this folder can make one.
#[derive(Debug)]
pub struct Permitted<T> {
    inner: T,
    _permit: Permit,
}

/// Why there is no permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The decision point gave no usable answer.
    DecisionPointUnavailable,
    /// A condition other than scopes does not hold.
    Forbidden(Forbidden),
    /// The caller lacks a scope.
    InsufficientScope,
    /// A condition looks at the caller, and there is none.
    NoCaller,
}

/// The conditions other than scopes, as reasons of a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The client's address is not allowed.
    Address,
    /// No Cedar policy permits it, or one forbids it.
    CedarDenied,
    /// The caller's claims do not fit what the policy declares, or a policy failed.
    CedarUndecidable,
    /// A claim is missing or has another value.
    ClaimMissing,
    /// A claim has another type than the rule speaks of.
    ClaimUndecidable,
    /// The decision point says no.
    DecisionPointDenied,
    /// An attribute of the request cannot be told to the decision point.
    DecisionUndecidable,
    /// The decision point permits only with an obligation that the policy lets nobody discharge.
    ObligationUnknown,
    /// The moment lies in no window.
    OutsideHours,
    /// Method, path parameter or header is not allowed.
    RequestNotAllowed,
    /// The request has no such path parameter, or the caller no such claim to compare it with.
    RequestUndecidable,
}

impl From<Forbidden> for Reason {
    fn from(why: Forbidden) -> Self {
        match why {
            Forbidden::Address => Self::AddressNotAllowed,
            Forbidden::CedarDenied => Self::CedarDenied,
            Forbidden::CedarUndecidable => Self::CedarUndecidable,
            Forbidden::ClaimMissing => Self::ClaimNotSatisfied,
            Forbidden::ClaimUndecidable => Self::ClaimUndecidable,
            Forbidden::DecisionPointDenied => Self::DecisionPointDenied,
            Forbidden::DecisionUndecidable => Self::DecisionUndecidable,
            Forbidden::ObligationUnknown => Self::ObligationUnknown,
            Forbidden::OutsideHours => Self::OutsideHours,
            Forbidden::RequestNotAllowed => Self::RequestNotAllowed,
            Forbidden::RequestUndecidable => Self::RequestUndecidable,
        }
    }
}

impl Permit {
    /// For whoever judged every condition.
    pub(super) fn new(headers: Vec<(HeaderName, HeaderValue)>, failed_open: bool) -> Self {
        Self { headers, failed_open }
    }

    /// Fields that a decision point sets for the upstream; every one is on the policy's list.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether a decision point said nothing usable, and the policy says to go on all the same.
    pub fn failed_open(&self) -> bool {
        self.failed_open
    }

    /// Binds the proof to what it was given for.
    pub fn bind<T>(self, inner: T) -> Permitted<T> {
        Permitted { inner, _permit: self }
    }
}

impl<T> Permitted<T> {
    /// The value, at the door of the upstream.
    pub fn into_inner(self) -> T {
        self.inner
    }
}
