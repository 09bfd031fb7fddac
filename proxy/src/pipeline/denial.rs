//! Every way in which a request can be refused.

use portreeve_policy::{InvalidPath, RefusalReason};

use super::{Challenge, InvalidRequest, PreflightFault, UpstreamFault};
pub use crate::authn::TokenFault;
use crate::{
    authn::{CredentialFault, CredentialRefusal, VerificationError},
    authz::Forbidden,
    transport::{HEAD_TOO_LARGE, INVALID_TARGET, NO_ROOM, TARGET_TOO_LONG, TOO_MANY_FIELDS},
};

/// A refusal, as a value. Answered in `respond`, by a match without a catch-all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The credential is broken, or there are two of them.
    BrokenCredentials(CredentialFault, Challenge),
    /// A key, a password or a certificate is wrong.
    CredentialsRefused(CredentialRefusal, Challenge),
    /// The decision point gave no usable answer, and the policy does not go on without one.
    DecisionPointUnavailable,
    /// A condition of the rule's authorization does not hold, or cannot be judged.
    Forbidden(Forbidden),
    /// A scope is missing.
    InsufficientScope(Challenge),
    /// The request has more than one meaning, or none.
    InvalidRequest(InvalidRequest),
    /// The token proves nothing, or is not meant for this API.
    InvalidToken(TokenFault, Challenge),
    /// The request has been here before.
    Loop,
    /// The path is known, the method is not.
    MethodNotAllowed(String),
    /// No credential that the rule accepts.
    NoCredentials(Challenge),
    /// There is no snapshot yet, or the proxy is draining for good.
    NotReady,
    /// A CORS preflight that nothing lets through.
    Preflight(PreflightFault),
    /// The process has no memory to spare.
    Overloaded,
    /// No room is left to remember another proof of possession.
    ProofsOverloaded,
    /// No route answers this host and path.
    RouteNotFound,
    /// The rule refuses everything, since its policy cannot be run.
    RuleRefuses(RefusalReason),
    /// The token service cannot be asked, or its keys are unknown.
    TokenServiceUnavailable(VerificationError),
    /// Too many wrong passwords; the next try is taken after this many seconds.
    TooManyAttempts(u64),
    /// The rule's timeout passed before there was a decision.
    Undecided,
    /// A protocol switch that the rule does not allow.
    UpgradeNotAllowed,
    /// The application did not answer properly.
    Upstream(UpstreamFault),
}

impl Denial {
    /// What the framing guard found.
    pub(super) fn of_framing(reason: &'static str) -> Self {
        match reason {
            NO_ROOM => Self::Overloaded,
            HEAD_TOO_LARGE | TOO_MANY_FIELDS => Self::InvalidRequest(InvalidRequest::HeadTooLarge),
            INVALID_TARGET => Self::InvalidRequest(InvalidRequest::Target),
            TARGET_TOO_LONG => Self::InvalidRequest(InvalidRequest::TargetTooLong),
            reason => Self::InvalidRequest(InvalidRequest::Framing(reason)),
        }
    }

    /// The reason as records and metrics spell it; one of a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BrokenCredentials(..) => "broken_credentials",
            Self::CredentialsRefused(refusal, _) => match refusal {
                CredentialRefusal::ApiKey => "invalid_api_key",
                CredentialRefusal::Password => "wrong_password",
                CredentialRefusal::Digest | CredentialRefusal::StaleNonce => "invalid_digest",
                CredentialRefusal::CertificateChain | CredentialRefusal::CertificateName => "invalid_certificate",
            },
            Self::DecisionPointUnavailable => "decision_point_unavailable",
            Self::Forbidden(why) => why.reason(),
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::InvalidRequest(fault) => match fault {
                InvalidRequest::Connection | InvalidRequest::NamedByConnection | InvalidRequest::Underscore => {
                    "ambiguous_fields"
                }
                InvalidRequest::ForbiddenMethod => "forbidden_method",
                InvalidRequest::Framing(_) | InvalidRequest::LookAlike => "ambiguous_framing",
                InvalidRequest::HeadTooLarge => "head_too_large",
                InvalidRequest::Host | InvalidRequest::HostMismatch => "invalid_host",
                InvalidRequest::Malformed => "malformed_request",
                InvalidRequest::Scheme => "wrong_scheme",
                InvalidRequest::Path(InvalidPath::TooLong) | InvalidRequest::TargetTooLong => "target_too_long",
                InvalidRequest::Path(_) | InvalidRequest::Query | InvalidRequest::Target => "invalid_target",
            },
            Self::InvalidToken(fault, _) => match fault {
                TokenFault::Audience => "wrong_audience",
                TokenFault::Verification(_) | TokenFault::Exchange => "invalid_token",
                TokenFault::Proof(_) => "invalid_proof",
                TokenFault::TooLongLived => "token_too_long_lived",
                TokenFault::NoUpstreamJwt => "no_upstream_token",
            },
            Self::Loop => "loop_detected",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NoCredentials(_) => "no_credentials",
            Self::NotReady => "not_ready",
            Self::Preflight(fault) => match fault {
                PreflightFault::NotConfigured => "cors_not_configured",
                PreflightFault::Overloaded => "cors_overloaded",
                PreflightFault::Undecidable => "cors_undecidable",
            },
            Self::Overloaded => "overloaded",
            Self::ProofsOverloaded => "proofs_overloaded",
            Self::RouteNotFound => "route_not_found",
            Self::RuleRefuses(reason) => match reason {
                RefusalReason::Closed => "closed",
                RefusalReason::Conflicted => "conflicted",
                RefusalReason::InvalidPolicy => "invalid_policy",
                RefusalReason::InvalidRoute => "invalid_route",
                RefusalReason::NoPolicy => "no_policy",
                RefusalReason::UnresolvedReference => "unresolved_reference",
            },
            Self::TokenServiceUnavailable(_) => "token_service_unavailable",
            Self::TooManyAttempts(_) => "too_many_attempts",
            Self::Undecided => "decision_timeout",
            Self::UpgradeNotAllowed => "upgrade_not_allowed",
            Self::Upstream(fault) => fault.reason(),
        }
    }

    /// More than the reason, for the record only; holds no credential.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::BrokenCredentials(fault, _) => Some(fault.to_string()),
            Self::CredentialsRefused(refusal, _) => Some(refusal.to_string()),
            Self::InvalidToken(TokenFault::Proof(fault), _) => Some(fault.to_string()),
            Self::InvalidToken(TokenFault::Exchange, _) => {
                Some("the token service did not exchange the partner's token".to_owned())
            }
            Self::Forbidden(why) => Some(why.detail().to_owned()),
            Self::InvalidRequest(fault) => Some(fault.to_string()),
            Self::InvalidToken(TokenFault::Verification(fault), _) | Self::TokenServiceUnavailable(fault) => {
                Some(fault.to_string())
            }
            Self::InvalidToken(TokenFault::Audience, _) => Some("aud holds none of the rule's audiences".to_owned()),
            Self::InvalidToken(TokenFault::TooLongLived, _) => {
                Some("exp less iat is more than maxTokenAge of the rule, or one of them is missing".to_owned())
            }
            Self::InvalidToken(TokenFault::NoUpstreamJwt, _) => Some("there is no JWT for the upstream".to_owned()),
            Self::Preflight(fault) => Some(fault.to_string()),
            Self::Upstream(fault) => Some(fault.to_string()),
            Self::InsufficientScope(challenge) | Self::NoCredentials(challenge) if !challenge.scopes.is_empty() => {
                Some(format!("the rule demands scope {}", challenge.scope_text()))
            }
            Self::DecisionPointUnavailable
            | Self::InsufficientScope(_)
            | Self::Loop
            | Self::MethodNotAllowed(_)
            | Self::NoCredentials(_)
            | Self::NotReady
            | Self::Overloaded
            | Self::ProofsOverloaded
            | Self::RouteNotFound
            | Self::RuleRefuses(_)
            | Self::TooManyAttempts(_)
            | Self::Undecided
            | Self::UpgradeNotAllowed => None,
        }
    }
}
