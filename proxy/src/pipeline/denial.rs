//! Every way in which a request can be refused.

use portreeve_policy::{Reason, RefusalReason};

use super::{Challenge, InvalidRequest, PreflightFault, UpstreamFault, challenge::ChallengeError};
pub use crate::authn::TokenFault;
use crate::{
    authn::{CredentialFault, CredentialRefusal, ProofFault, VerificationError},
    authz::Forbidden,
    limits::Limited,
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
    /// The request lacks a part of the key of a rate limit, which is named.
    LimitKeyMissing(String),
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
    /// A rate limit is used up.
    RateLimited(Box<Limited>),
    /// No route answers this host and path.
    RouteNotFound,
    /// The rule refuses everything, since its policy cannot be run.
    RuleRefuses(RefusalReason),
    /// More requests came at once than the policy lets through; the next is taken after this many seconds.
    SpikeArrested(u64),
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

    /// The reason, one of a closed set.
    pub fn reason(&self) -> Reason {
        match self {
            Self::BrokenCredentials(..) => Reason::BrokenCredentials,
            Self::CredentialsRefused(refusal, _) => match refusal {
                CredentialRefusal::ApiKey => Reason::InvalidApiKey,
                CredentialRefusal::Password => Reason::WrongPassword,
                CredentialRefusal::Digest | CredentialRefusal::StaleNonce => Reason::InvalidDigest,
                CredentialRefusal::CertificateChain | CredentialRefusal::CertificateName => Reason::InvalidCertificate,
            },
            Self::DecisionPointUnavailable => Reason::DecisionPointUnavailable,
            Self::Forbidden(why) => (*why).into(),
            Self::InsufficientScope(_) => Reason::InsufficientScope,
            Self::InvalidRequest(fault) => fault.reason(),
            Self::InvalidToken(fault, _) => match fault {
                TokenFault::Audience => Reason::WrongAudience,
                TokenFault::Verification(_) | TokenFault::Exchange => Reason::InvalidToken,
                TokenFault::Proof(_) => Reason::InvalidProof,
                TokenFault::TooLongLived => Reason::TokenTooLongLived,
                TokenFault::NoUpstreamJwt => Reason::NoUpstreamToken,
            },
            Self::LimitKeyMissing(_) => Reason::LimitKeyMissing,
            Self::Loop => Reason::LoopDetected,
            Self::MethodNotAllowed(_) => Reason::MethodNotAllowed,
            Self::NoCredentials(_) => Reason::NoCredentials,
            Self::NotReady => Reason::NotReady,
            Self::Preflight(fault) => match fault {
                PreflightFault::NotAllowed => Reason::CorsNotAllowed,
                PreflightFault::NotConfigured => Reason::CorsNotConfigured,
                PreflightFault::Overloaded => Reason::CorsOverloaded,
                PreflightFault::Undecidable => Reason::CorsUndecidable,
            },
            Self::Overloaded => Reason::Overloaded,
            Self::ProofsOverloaded => Reason::ProofsOverloaded,
            Self::RateLimited(_) => Reason::RateLimited,
            Self::RouteNotFound => Reason::RouteNotFound,
            Self::RuleRefuses(reason) => (*reason).into(),
            Self::SpikeArrested(_) => Reason::SpikeArrested,
            Self::TokenServiceUnavailable(_) => Reason::TokenServiceUnavailable,
            Self::TooManyAttempts(_) => Reason::TooManyAttempts,
            Self::Undecided => Reason::DecisionTimeout,
            Self::UpgradeNotAllowed => Reason::UpgradeNotAllowed,
            Self::Upstream(fault) => fault.reason(),
        }
    }

    /// What the caller is told about how to be let in.
    pub(super) fn challenge(&self) -> Option<(&Challenge, ChallengeError)> {
        match self {
            Self::BrokenCredentials(_, challenge) => Some((challenge, ChallengeError::Token("invalid_request"))),
            Self::CredentialsRefused(CredentialRefusal::StaleNonce, challenge) => {
                Some((challenge, ChallengeError::StaleNonce))
            }
            Self::CredentialsRefused(_, challenge) => Some((challenge, ChallengeError::Other)),
            Self::InsufficientScope(challenge) => Some((challenge, ChallengeError::Token("insufficient_scope"))),
            Self::InvalidToken(fault, challenge) if *fault != TokenFault::NoUpstreamJwt => {
                Some((challenge, ChallengeError::Token(token_error(*fault))))
            }
            // No credentials, no error code (RFC 6750 section 3.1).
            Self::NoCredentials(challenge) => Some((challenge, ChallengeError::None)),
            // A token without an upstream JWT is valid; it is the token service that gave nothing.
            Self::DecisionPointUnavailable
            | Self::Forbidden(_)
            | Self::InvalidRequest(_)
            | Self::InvalidToken(..)
            | Self::LimitKeyMissing(_)
            | Self::Loop
            | Self::MethodNotAllowed(_)
            | Self::NotReady
            | Self::Preflight(_)
            | Self::Overloaded
            | Self::ProofsOverloaded
            | Self::RateLimited(_)
            | Self::RouteNotFound
            | Self::RuleRefuses(_)
            | Self::SpikeArrested(_)
            | Self::TokenServiceUnavailable(_)
            | Self::TooManyAttempts(_)
            | Self::Undecided
            | Self::UpgradeNotAllowed
            | Self::Upstream(_) => None,
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
            // Words of their own are the reason's.
            Self::Forbidden(why) => Some(Reason::from(*why).words().to_owned()),
            Self::InvalidRequest(fault) => Some(fault.to_string()),
            Self::InvalidToken(TokenFault::Verification(fault), _) | Self::TokenServiceUnavailable(fault) => {
                Some(fault.to_string())
            }
            Self::InvalidToken(TokenFault::Audience, _) => Some("aud holds none of the rule's audiences".to_owned()),
            Self::InvalidToken(TokenFault::TooLongLived, _) => {
                Some("exp less iat is more than maxTokenAge of the rule, or one of them is missing".to_owned())
            }
            Self::InvalidToken(TokenFault::NoUpstreamJwt, _) => Some("there is no JWT for the upstream".to_owned()),
            Self::LimitKeyMissing(limit) => Some(format!("the request has not all that limit {limit} counts by")),
            Self::Preflight(fault) => Some(fault.to_string()),
            Self::RateLimited(limited) => Some(format!("limit {}", limited.limit)),
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
            | Self::SpikeArrested(_)
            | Self::TooManyAttempts(_)
            | Self::Undecided
            | Self::UpgradeNotAllowed => None,
        }
    }
}

/// RFC 6750 section 3.1 and RFC 9449 section 7.1.
fn token_error(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Proof(fault) => match fault {
            ProofFault::Nonce => "use_dpop_nonce",
            ProofFault::Missing
            | ProofFault::Malformed
            | ProofFault::Mismatch
            | ProofFault::Age
            | ProofFault::Replayed => "invalid_dpop_proof",
            ProofFault::Certificate | ProofFault::Key | ProofFault::Scheme | ProofFault::Unbound => "invalid_token",
        },
        TokenFault::Audience
        | TokenFault::Exchange
        | TokenFault::TooLongLived
        | TokenFault::Verification(_)
        | TokenFault::NoUpstreamJwt => "invalid_token",
    }
}
