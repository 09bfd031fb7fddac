//! The conditions of a rule, in the words of ApiPolicy.

use std::collections::BTreeSet;

use portreeve_policy::{Authentication, Authenticator, Condition, Credential, Guard, Limits, Reason, SpikeArrest};
use serde::Serialize;

/// One condition.
pub(crate) struct RuleCondition {
    /// Field of ApiPolicy, e.g. `authorization.scopes`.
    pub(crate) field: &'static str,
    /// The reasons by which it refuses.
    pub(crate) reasons: &'static [Reason],
    /// What it demands.
    pub(crate) demand: String,
}

/// Reasons by which authentication refuses.
const AUTHENTICATION: &[Reason] = &[
    Reason::NoCredentials,
    Reason::BrokenCredentials,
    Reason::InvalidToken,
    Reason::InvalidProof,
    Reason::InvalidApiKey,
    Reason::InvalidCertificate,
    Reason::InvalidDigest,
    Reason::NoUpstreamToken,
    Reason::ProofsOverloaded,
    Reason::TokenServiceUnavailable,
    Reason::TokenTooLongLived,
    Reason::TooManyAttempts,
    Reason::WrongAudience,
    Reason::WrongPassword,
];

/// The conditions of a rule, in the order in which they are judged.
pub(crate) fn conditions(guard: &Guard) -> Vec<RuleCondition> {
    use Reason as R;
    let mut found = Vec::new();
    let mut add = |field, reasons, demand| found.push(RuleCondition { field, reasons, demand });
    if let Limits::Limited(limits) = &guard.limits
        && limits.spike_arrest != SpikeArrest::None
    {
        add("limits.spikeArrest", &[R::SpikeArrested], shown(&limits.spike_arrest));
    }
    if let Authentication::AnyOf(list) = &guard.authentication {
        let demand = list.iter().map(authenticator).collect::<Vec<_>>().join(", or ");
        add("authentication", AUTHENTICATION, demand);
    }
    for condition in guard.authorization.conditions() {
        match condition {
            Condition::Request(rule) => {
                add("authorization.request", &[R::RequestNotAllowed, R::RequestUndecidable], shown(rule));
            }
            Condition::Addresses(rule) => {
                add("authorization.clientAddresses", &[R::AddressNotAllowed], shown(rule));
            }
            Condition::Hours(rule) => add("authorization.timeWindows", &[R::OutsideHours], shown(rule)),
            Condition::Scopes(rule) => {
                let all = (!rule.all_of.is_empty()).then(|| format!("all of {}", listed(&rule.all_of)));
                let any = (!rule.any_of.is_empty()).then(|| format!("one of {}", listed(&rule.any_of)));
                let demand = all.into_iter().chain(any).collect::<Vec<_>>().join(" and ");
                add("authorization.scopes", &[R::InsufficientScope], demand);
            }
            Condition::Claims(rules) => {
                add("authorization.claims", &[R::ClaimNotSatisfied, R::ClaimUndecidable], shown(rules));
            }
            Condition::Cedar(rule) => {
                add("authorization.cedar", &[R::CedarDenied, R::CedarUndecidable], shown(rule));
            }
            Condition::External(rule) => {
                let why = &[
                    R::DecisionPointDenied,
                    R::DecisionPointUnavailable,
                    R::DecisionUndecidable,
                    R::ObligationUnknown,
                ];
                add("authorization.external", why, format!("a permit of {}", rule.endpoint));
            }
        }
    }
    if let Limits::Limited(limits) = &guard.limits
        && !limits.rate_limits.is_empty()
    {
        add("limits.rateLimits", &[R::RateLimited, R::LimitKeyMissing], shown(&limits.rate_limits));
    }
    found
}

fn authenticator(one: &Authenticator) -> String {
    match one {
        Authenticator::Anonymous => "nobody in particular".to_owned(),
        Authenticator::AllOf(all) => all.iter().map(credential).collect::<Vec<_>>().join(" with "),
    }
}

fn credential(one: &Credential) -> String {
    match one {
        Credential::ApiKey(_) => "apiKey".to_owned(),
        Credential::Basic(_) => "basic".to_owned(),
        Credential::ClientCertificate(_) => "clientCertificate".to_owned(),
        Credential::Digest(_) => "digest".to_owned(),
        Credential::Exchange(rule) => format!("exchange at TokenService {}", rule.token_service),
        Credential::Introspection(rule) => {
            format!(
                "introspection at TokenService {}, audience {}",
                rule.token_service,
                rule.audiences.iter().collect::<Vec<_>>().join(", ")
            )
        }
        Credential::Jwt(rule) => {
            format!(
                "jwt of TokenService {}, audience {}",
                rule.token_service,
                rule.audiences.iter().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn listed<T: ToString>(all: &BTreeSet<T>) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// As it stands in snapshots.
fn shown(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
