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
        Self::of(self.conditions().iter().filter_map(Condition::without_caller).collect())
    }

    /// What can be judged of a preflight, which never has a caller: scopes and claims are asked of the request that it
    /// announces. `None` where attribute rules or a decision point have a say, for nobody knows what they would make of
    /// a caller that is not there.
    pub fn of_preflight(&self) -> Option<Self> {
        let judged = |condition: &Condition| !matches!(condition, Condition::Cedar(_) | Condition::External(_));
        self.conditions().iter().all(judged).then(|| self.without_caller())
    }

    /// Header fields that conditions look at, or that a decision point sets.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        self.conditions().iter().flat_map(|condition| -> Box<dyn Iterator<Item = &str>> {
            match condition {
                Condition::Request(rule) => Box::new(rule.headers.iter().map(|header| header.name.as_str())),
                Condition::Cedar(rule) => Box::new(rule.headers.iter().map(String::as_str)),
                Condition::External(rule) => {
                    Box::new(rule.headers.iter().chain(&rule.upstream_headers).map(String::as_str))
                }
                Condition::Addresses(_) | Condition::Claims(_) | Condition::Hours(_) | Condition::Scopes(_) => {
                    Box::new(std::iter::empty())
                }
            }
        })
    }

    fn of(conditions: Vec<Condition>) -> Self {
        if conditions.is_empty() { Self::Anyone } else { Self::AllOf(conditions) }
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

    /// What of it asks nothing of the caller.
    fn without_caller(&self) -> Option<Self> {
        match self {
            Self::Scopes(_) | Self::Claims(_) | Self::Cedar(_) | Self::External(_) => None,
            Self::Request(rule) => rule.without_caller().map(Self::Request),
            Self::Addresses(_) | Self::Hours(_) => Some(self.clone()),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_needs_a_caller_and_which_fields_are_watched_is_told_of_every_condition() {
        let of = |conditions: serde_json::Value| -> Authorization {
            serde_json::from_value(json!({ "allOf": conditions })).unwrap()
        };
        let cedar = json!({"cedar": {
            "text": "permit(principal, action, resource);", "claims": {}, "roles": null, "groups": null,
            "pathParameters": [], "headers": ["x-b"], "reads": [],
        }});
        let header = json!({"name": "x-a", "test": {"exists": true}});
        let claim = json!({"name": "t", "test": {"equalsClaim": "$.t"}});
        let request = |parameters: &[&serde_json::Value]| json!({"request": {"methods": [], "pathParameters": parameters, "headers": [header]}});
        let hours = json!({"hours": {"timeZone": "UTC", "exceptDates": [], "windows": []}});
        for (condition, needs, watched) in [
            (json!({"addresses": {"allow": [], "deny": []}}), false, &[][..]),
            (hours, false, &[]),
            (json!({"scopes": {"allOf": ["a"], "anyOf": []}}), true, &[]),
            (json!({"claims": [{"path": "$.a", "test": {"exists": true}}]}), true, &[]),
            (request(&[]), false, &["x-a"]),
            (request(&[&claim]), true, &["x-a"]),
            (cedar, true, &["x-b"]),
        ] {
            let authorization = of(json!([condition]));
            assert_eq!(authorization.needs_caller(), needs, "{condition}");
            assert_eq!(authorization.watched_fields().collect::<Vec<_>>(), watched, "{condition}");
            assert_eq!(authorization.conditions().len(), 1);
        }
        let both = of(json!([{"addresses": {"allow": [], "deny": []}}, {"scopes": {"allOf": ["a"], "anyOf": []}}]));
        assert!(both.needs_caller() && !Authorization::Anyone.needs_caller());
    }

    #[test]
    fn of_several_judgements_the_first_that_does_not_hold_counts() {
        use Judgement::{Fails, Fault, Holds};
        for (several, one) in [
            (&[][..], Holds),
            (&[Holds, Holds], Holds),
            (&[Holds, Fails], Fails),
            (&[Holds, Fault, Fails], Fault),
            (&[Fails, Fault], Fails),
        ] {
            assert_eq!(Judgement::all(several.iter().copied()), one, "{several:?}");
        }
        assert_eq!((Judgement::of(true), Judgement::of(false)), (Holds, Fails));
    }

    #[test]
    fn c4_what_is_left_of_conditions_without_a_caller_is_never_less_than_what_needs_none() {
        let claim = json!({"name": "t", "test": {"equalsClaim": "$.t"}});
        let text = json!({"name": "u", "test": {"in": ["a"]}});
        let header = json!({"name": "x-a", "test": {"exists": true}});
        let request = |parameters: &[&serde_json::Value], headers: &[&serde_json::Value]| json!({"request": {"methods": [], "pathParameters": parameters, "headers": headers}});
        let addresses = json!({"addresses": {"allow": ["10.0.0.0/8"], "deny": []}});
        let scopes = json!({"scopes": {"allOf": ["a"], "anyOf": []}});
        for (conditions, kept) in [
            (json!([request(&[&claim, &text], &[&header]), scopes]), json!([request(&[&text], &[&header])])),
            (json!([request(&[&claim], &[])]), json!([])),
            (json!([scopes, addresses]), json!([addresses])),
        ] {
            let whole: Authorization = serde_json::from_value(json!({ "allOf": conditions })).unwrap();
            let kept = if kept == json!([]) { json!("anyone") } else { json!({ "allOf": kept }) };
            let kept: Authorization = serde_json::from_value(kept).unwrap();
            assert_eq!((whole.without_caller(), whole.of_preflight()), (kept.clone(), Some(kept)), "{conditions}");
        }
    }
}
