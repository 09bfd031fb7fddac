//! How often callers may call: spike arrest before authentication, rate limits after the decision.
//!
//! Both count by the generic cell rate algorithm (ITU-T I.371): for each key one point in time, the theoretical arrival
//! time, from which follows what is left. Nothing has to be reset, and a window has no edge at which twice as much
//! passes.

mod rate;

use serde::{Deserialize, Serialize};

pub use rate::{Admission, InvalidRate, Period, Rate};

use crate::{ClaimPath, NamespacedName};

/// The limits of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Limits {
    /// No policy sets any.
    None,
    /// Those of one policy.
    Limited(LimitRules),
}

/// The limits of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitRules {
    /// The policy: what it limits is counted together, whichever of its rules a request meets.
    pub policy: NamespacedName,
    /// Before authentication.
    pub spike_arrest: SpikeArrest,
    /// After the decision; all of them must admit a request, and only then it is counted.
    pub rate_limits: Vec<RateLimit>,
}

/// Evens out bursts before anything costly is done for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SpikeArrest {
    /// Bursts pass.
    None,
    /// So much for each client address (IPv6: each /64).
    PerClientAddress(Rate),
    /// So much for everybody together.
    Together(Rate),
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Name within the policy; it is told to callers.
    pub name: String,
    /// What is counted apart; never empty.
    pub key: Vec<LimitKey>,
    /// What becomes of requests that lack a part of the key.
    pub absent_key: AbsentKey,
    /// How much; every one must hold. Never empty, at most [`MAX_RATES`].
    pub rates: Vec<Rate>,
}

/// Rates of one limit at the most.
pub const MAX_RATES: usize = 4;

/// A part of what is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LimitKey {
    /// `client_id` of the caller; the subject where its credential has none.
    Application,
    /// A claim of the caller: one text, number or boolean.
    Claim(ClaimPath),
    /// The client's address (IPv6: its /64).
    ClientAddress,
    /// Nothing: everybody is counted together.
    Everyone,
    /// A header field, lower case.
    Header(String),
    /// A parameter of the path.
    PathParameter(String),
    /// `sub` of the caller.
    Subject,
}

/// What becomes of requests that lack a part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum AbsentKey {
    /// They are refused.
    Refuse,
    /// They are counted together.
    Share,
}

// === impl Limits ===

impl Limits {
    /// The limits, if a policy sets any.
    pub fn rules(&self) -> Option<&LimitRules> {
        match self {
            Self::None => None,
            Self::Limited(rules) => Some(rules),
        }
    }

    /// Whether it refuses requests of nobody.
    pub fn needs_caller(&self) -> bool {
        self.rules().is_some_and(|rules| rules.rate_limits.iter().any(RateLimit::needs_caller))
    }

    /// The same without what refuses requests of nobody.
    #[must_use]
    pub fn without_caller(&self) -> Self {
        let Self::Limited(rules) = self else { return Self::None };
        let mut kept = rules.clone();
        kept.rate_limits.retain(|limit| !limit.needs_caller());
        if kept.rate_limits.is_empty() && kept.spike_arrest == SpikeArrest::None {
            Self::None
        } else {
            Self::Limited(kept)
        }
    }

    /// Header fields that keys are made of.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        let keys = self.rules().into_iter().flat_map(|rules| &rules.rate_limits).flat_map(|limit| &limit.key);
        keys.filter_map(|key| match key {
            LimitKey::Header(name) => Some(name.as_str()),
            LimitKey::Application
            | LimitKey::Claim(_)
            | LimitKey::ClientAddress
            | LimitKey::Everyone
            | LimitKey::PathParameter(_)
            | LimitKey::Subject => None,
        })
    }
}

impl RateLimit {
    fn needs_caller(&self) -> bool {
        self.absent_key == AbsentKey::Refuse && self.key.iter().any(LimitKey::is_of_caller)
    }
}

impl LimitKey {
    /// Whether nobody has it.
    pub fn is_of_caller(&self) -> bool {
        match self {
            Self::Application | Self::Claim(_) | Self::Subject => true,
            Self::ClientAddress | Self::Everyone | Self::Header(_) | Self::PathParameter(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_asks_for_a_caller_is_told_and_can_be_left_out() {
        let rate = json!({"requests": 10, "per": "second", "burst": 10});
        let limit = |key: &serde_json::Value, absent: &str| json!({"name": "n", "key": [key], "absentKey": absent, "rates": [rate]});
        let of = |spike: serde_json::Value, limits: Vec<serde_json::Value>| -> Limits {
            serde_json::from_value(json!({"limited": {"policy": "a/b", "spikeArrest": spike, "rateLimits": limits}}))
                .unwrap()
        };
        let (app, header) = (json!("application"), json!({"header": "x-tenant"}));
        let claim = json!({"claim": "$.tenant"});
        for key in [&app, &claim, &json!("subject")] {
            let limits = of(json!("none"), vec![limit(key, "refuse")]);
            assert!(limits.needs_caller(), "{key}");
            assert_eq!(limits.without_caller(), Limits::None, "{key}");
            assert!(!of(json!("none"), vec![limit(key, "share")]).needs_caller(), "{key}");
        }
        let spike = json!({"perClientAddress": rate});
        let both = of(spike.clone(), vec![limit(&app, "refuse"), limit(&header, "refuse")]);
        assert_eq!(both.without_caller(), of(spike, vec![limit(&header, "refuse")]));
        assert_eq!(both.watched_fields().collect::<Vec<_>>(), ["x-tenant"]);
        assert!(!Limits::None.needs_caller());
    }
}
