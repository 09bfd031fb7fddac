use portreeve_crds::v1alpha1::{PolicyMode, Precedence};
use portreeve_policy::{Authentication, Authorization, NamespacedName, Refusal, RefusalReason};
use serde_json::{Value, json};

use super::*;
use crate::validate::PolicyAge;

pub(super) fn policy(name: &str, blocks: Blocks) -> PolicyState {
    PolicyState {
        name: NamespacedName::new("shop", name).unwrap(),
        generation: 1,
        age: PolicyAge::of_value(&Value::Null),
        precedence: Precedence::Defaults,
        mode: PolicyMode::Enforce,
        targets: vec![Target::Namespace],
        blocks,
    }
}

pub(super) fn broken() -> Blocks {
    Blocks::Broken(
        Refusal { reason: RefusalReason::InvalidPolicy, message: "broken".to_owned() },
        BlockKind::ALL[..2].to_vec(),
    )
}

pub(super) fn valid(authentication: Option<Authentication>, authorization: Option<Authorization>) -> Blocks {
    Blocks::Valid(BlockSet { authentication, authorization, limits: None })
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

fn outcome(chain: &[&PolicyState]) -> (Result<(), RefusalReason>, Vec<String>) {
    let EffectiveRule { state, policies, .. } = merge_chain(chain);
    let verdict = match state {
        RuleState::Ready(_) => Ok(()),
        RuleState::Refusing(refusal) => Err(refusal.reason),
    };
    (verdict, policies.iter().map(|origin| origin.name.name().to_owned()).collect())
}

#[test]
fn a_broken_policy_refuses_whatever_block_is_still_open() {
    let broken = policy("broken", broken());
    for blocks in [valid(Some(token()), None), valid(None, Some(scopes())), valid(None, None)] {
        let above = policy("above", blocks);
        assert_eq!(outcome(&[&above, &broken]).0, Err(RefusalReason::InvalidPolicy));
    }
    let above = policy("above", valid(Some(token()), Some(scopes())));
    assert_eq!(outcome(&[&above, &broken]), (Ok(()), vec!["above".to_owned()]));
}

#[test]
fn open_lifts_what_less_specific_policies_ask_of_a_caller_and_nothing_else() {
    let open = || Some(Authentication::Anonymous);
    let (rule, route) = (policy("rule", valid(open(), None)), policy("route", valid(None, Some(scopes()))));
    assert_eq!(outcome(&[&rule, &route]), (Ok(()), vec!["rule".to_owned()]));
    assert_eq!(outcome(&[&route, &rule]).0, Err(RefusalReason::InvalidPolicy));
    let both = policy("both", valid(open(), Some(scopes())));
    assert_eq!(outcome(&[&both]).0, Err(RefusalReason::InvalidPolicy), "in one place it contradicts itself");
}

#[test]
fn policies_are_named_from_the_highest_rank_down() {
    let (who, what) = (policy("who", valid(Some(token()), None)), policy("what", valid(None, Some(scopes()))));
    assert_eq!(outcome(&[&who, &what]), (Ok(()), vec!["who".to_owned(), "what".to_owned()]));
    assert_eq!(outcome(&[&what, &who]), (Ok(()), vec!["what".to_owned(), "who".to_owned()]));
    let both = policy("both", valid(Some(token()), Some(scopes())));
    assert_eq!(outcome(&[&both]), (Ok(()), vec!["both".to_owned()]));
}
