use portreeve_crds::v1alpha1::{PolicyMode, Precedence};
use portreeve_policy::{Authentication, Authorization, NamespacedName, Refusal, RefusalReason};
use serde_json::{Value, json};

use super::*;
use crate::validate::PolicyAge;

pub(super) fn policy(name: &str, blocks: Blocks) -> PolicyState {
    PolicyState {
        name: NamespacedName::new("shop", name).unwrap(),
        generation: 1,
        seniority: PolicyAge::of_value(&Value::Null),
        precedence: Precedence::Defaults,
        mode: PolicyMode::Enforce,
        targets: vec![Target::Namespace],
        blocks,
    }
}

pub(super) fn broken() -> Blocks {
    Blocks::Broken(Refusal { reason: RefusalReason::InvalidPolicy, message: "broken".to_owned() })
}

pub(super) fn settled(authentication: Option<Authentication>, authorization: Option<Authorization>) -> Blocks {
    Blocks::Settled { authentication, authorization }
}

pub(super) fn scopes() -> Authorization {
    serde_json::from_value(json!({"allOf": [{"scopes": {"allOf": ["orders:read"], "anyOf": []}}]})).unwrap()
}

pub(super) fn token() -> Authentication {
    serde_json::from_value(json!({"anyOf": [{"allOf": [{"jwt": {
        "tokenService": "shop/login", "audiences": ["orders"], "tokenType": "accessToken",
        "proof": {"required": [], "dpopNonce": false}, "upstreamToken": "original",
    }}]}]}))
    .unwrap()
}

fn access(chain: &[&PolicyState]) -> (Result<(), RefusalReason>, Vec<String>) {
    let EffectiveAccess { access, policies, .. } = settle_chain(chain);
    let verdict = match access {
        Access::Guarded { .. } => Ok(()),
        Access::Refused(refusal) => Err(refusal.reason),
    };
    (verdict, policies.iter().map(|origin| origin.name.name().to_owned()).collect())
}

#[test]
fn a_broken_policy_refuses_whatever_block_is_still_open() {
    let broken = policy("broken", broken());
    for blocks in [settled(Some(token()), None), settled(None, Some(scopes())), settled(None, None)] {
        let above = policy("above", blocks);
        assert_eq!(access(&[&above, &broken]).0, Err(RefusalReason::InvalidPolicy));
    }
    let above = policy("above", settled(Some(token()), Some(scopes())));
    assert_eq!(access(&[&above, &broken]), (Ok(()), vec!["above".to_owned()]));
}

#[test]
fn open_lifts_what_less_specific_policies_ask_of_a_caller_and_nothing_else() {
    let open = || Some(Authentication::Anonymous);
    let (rule, route) = (policy("rule", settled(open(), None)), policy("route", settled(None, Some(scopes()))));
    assert_eq!(access(&[&rule, &route]), (Ok(()), vec!["rule".to_owned()]));
    assert_eq!(access(&[&route, &rule]).0, Err(RefusalReason::InvalidPolicy));
    let both = policy("both", settled(open(), Some(scopes())));
    assert_eq!(access(&[&both]).0, Err(RefusalReason::InvalidPolicy), "in one place it contradicts itself");
}

#[test]
fn policies_are_named_from_the_highest_rank_down() {
    let (who, what) = (policy("who", settled(Some(token()), None)), policy("what", settled(None, Some(scopes()))));
    assert_eq!(access(&[&who, &what]), (Ok(()), vec!["who".to_owned(), "what".to_owned()]));
    assert_eq!(access(&[&what, &who]), (Ok(()), vec!["what".to_owned(), "who".to_owned()]));
    let both = policy("both", settled(Some(token()), Some(scopes())));
    assert_eq!(access(&[&both]), (Ok(()), vec!["both".to_owned()]));
}
