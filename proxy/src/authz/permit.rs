//! The proof that a request may go on, and what stands against it.

use http::{HeaderName, HeaderValue};

/// Proof that every condition held.
#[derive(Debug)]
pub struct Permit {
    headers: Vec<(HeaderName, HeaderValue)>,
    unheard: bool,
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

impl Forbidden {
    /// As records and metrics spell it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Address => "address_not_allowed",
            Self::CedarDenied => "cedar_denied",
            Self::CedarUndecidable => "cedar_undecidable",
            Self::ClaimMissing => "claim_not_satisfied",
            Self::ClaimUndecidable => "claim_undecidable",
            Self::DecisionPointDenied => "decision_point_denied",
            Self::DecisionUndecidable => "decision_undecidable",
            Self::ObligationUnknown => "obligation_unknown",
            Self::OutsideHours => "outside_hours",
            Self::RequestNotAllowed => "request_not_allowed",
            Self::RequestUndecidable => "request_undecidable",
        }
    }

    /// What a record says beside the reason.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Address => "the client's address is not among those that the policy allows",
            Self::CedarDenied => "no Cedar policy permits the request, or one forbids it",
            Self::CedarUndecidable => "a claim does not fit what the policy declares, or a Cedar policy failed",
            Self::ClaimMissing => "a claim that the policy demands is missing or has another value",
            Self::ClaimUndecidable => "a claim that the policy looks at has another type than the policy speaks of",
            Self::DecisionPointDenied => "the decision point refused the request",
            Self::DecisionUndecidable => "an attribute of the request cannot be told to the decision point",
            Self::ObligationUnknown => "the decision point set an obligation that is not in upstreamHeaders",
            Self::OutsideHours => "the policy allows no calls at this time",
            Self::RequestNotAllowed => "method, path parameter or header is not what the policy allows",
            Self::RequestUndecidable => "the path parameter or claim that the policy compares is not there",
        }
    }
}

impl Permit {
    /// For whoever judged every condition.
    pub(super) fn new(headers: Vec<(HeaderName, HeaderValue)>, unheard: bool) -> Self {
        Self { headers, unheard }
    }

    /// Fields that a decision point sets for the upstream; every one is on the policy's list.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether a decision point said nothing usable, and the policy says to go on all the same.
    pub fn is_unheard(&self) -> bool {
        self.unheard
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
