//! Every way in which a request can be refused.

use portreeve_policy::{RefusalReason, Scope};

use super::{InvalidRequest, UpstreamFault};
use crate::{
    authn::{CredentialFault, FactFault},
    authz::Forbidden,
};

/// A refusal, as a value. Answered in `respond`, by a match without a catch-all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The credential is broken, or there are two of them.
    BrokenCredentials(CredentialFault, Challenge),
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
    /// The path is known, the method is not.
    MethodNotAllowed(String),
    /// No credential that the rule accepts.
    NoCredentials(Challenge),
    /// There is no snapshot yet, or the proxy is draining for good.
    NotReady,
    /// No route answers this host and path.
    RouteNotFound,
    /// The rule refuses everything, since its policy cannot be run.
    RuleRefuses(RefusalReason),
    /// The token service cannot be asked, or its keys are unknown.
    TokenServiceUnavailable(FactFault),
    /// A protocol switch that the rule does not allow.
    UpgradeNotAllowed,
    /// The application did not answer properly.
    Upstream(UpstreamFault),
}

/// Why a token does not count here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// None of its audiences is one of the rule's.
    Audience,
    /// There are no facts.
    Fact(FactFault),
    /// The answer carried no JWT, and the rule demands one for the upstream.
    NoUpstreamJwt,
}

/// What a 401 or 403 tells the client (RFC 6750 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Challenge {
    /// Scopes that would help, in order.
    pub scopes: Vec<Scope>,
}

impl Denial {
    /// The reason as records and metrics spell it; one of a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BrokenCredentials(..) => "broken_credentials",
            Self::DecisionPointUnavailable => "decision_point_unavailable",
            Self::Forbidden(why) => why.reason(),
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::InvalidRequest(fault) => match fault {
                InvalidRequest::ForbiddenMethod => "forbidden_method",
                InvalidRequest::Framing(_) | InvalidRequest::LookAlike => "ambiguous_framing",
                InvalidRequest::HeadTooLarge => "head_too_large",
                InvalidRequest::Host | InvalidRequest::HostMismatch => "invalid_host",
                InvalidRequest::Path(_) | InvalidRequest::Query => "invalid_target",
            },
            Self::InvalidToken(fault, _) => match fault {
                TokenFault::Audience => "wrong_audience",
                TokenFault::Fact(_) => "invalid_token",
                TokenFault::NoUpstreamJwt => "no_upstream_token",
            },
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NoCredentials(_) => "no_credentials",
            Self::NotReady => "not_ready",
            Self::RouteNotFound => "route_not_found",
            Self::RuleRefuses(reason) => match reason {
                RefusalReason::Closed => "closed",
                RefusalReason::InvalidPolicy => "invalid_policy",
                RefusalReason::InvalidRoute => "invalid_route",
                RefusalReason::NoPolicy => "no_policy",
                RefusalReason::UnresolvedReference => "unresolved_reference",
            },
            Self::TokenServiceUnavailable(_) => "token_service_unavailable",
            Self::UpgradeNotAllowed => "upgrade_not_allowed",
            Self::Upstream(fault) => fault.reason(),
        }
    }

    /// More than the reason, for the record only; holds no credential.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::BrokenCredentials(fault, _) => Some(fault.to_string()),
            Self::Forbidden(why) => Some(why.detail().to_owned()),
            Self::InvalidRequest(fault) => Some(fault.to_string()),
            Self::InvalidToken(TokenFault::Fact(fault), _) | Self::TokenServiceUnavailable(fault) => {
                Some(fault.to_string())
            }
            Self::InvalidToken(TokenFault::Audience, _) => Some("aud holds none of the rule's audiences".to_owned()),
            Self::InvalidToken(TokenFault::NoUpstreamJwt, _) => {
                Some("the introspection answer carried no JWT for the upstream".to_owned())
            }
            Self::Upstream(fault) => Some(fault.to_string()),
            Self::InsufficientScope(challenge) | Self::NoCredentials(challenge) if !challenge.scopes.is_empty() => {
                Some(format!("the rule demands scope {}", challenge.scope_text()))
            }
            Self::DecisionPointUnavailable
            | Self::InsufficientScope(_)
            | Self::MethodNotAllowed(_)
            | Self::NoCredentials(_)
            | Self::NotReady
            | Self::RouteNotFound
            | Self::RuleRefuses(_)
            | Self::UpgradeNotAllowed => None,
        }
    }
}

impl Challenge {
    /// The `scope` parameter.
    pub fn scope_text(&self) -> String {
        self.scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
    }
}
