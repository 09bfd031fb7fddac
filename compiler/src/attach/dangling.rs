//! Targets that do not exist. A name that was changed on one side only leaves a rule without the policy that was meant for
//! it; what less specific policies say there is not what its owner relies on.

use std::collections::BTreeMap;

use portreeve_policy::NamespacedName;

use super::{BlockKind, PolicyState};
use crate::validate::{Target, ValidRoute};

/// A policy with a target that does not exist, and which rules it could have been meant for.
pub(super) struct Dangling<'a> {
    pub(super) policy: &'a PolicyState,
    pub(super) message: String,
    /// The route, where that exists and only its rule does not.
    route: Option<String>,
    /// The rule's name, where the target has one and its route does not exist.
    rule: Option<&'a str>,
    /// How specific the target is.
    rank: usize,
    /// The blocks without which rules would be more open.
    restricts: Vec<BlockKind>,
}

/// Ranks of the places of a policy: overrides of the namespace, rule, route, defaults of the namespace.
const RULE: usize = 1;
const ROUTE: usize = 2;

fn has_rule(namespace: &str, rule: &str, routes: &BTreeMap<NamespacedName, ValidRoute>) -> bool {
    let mut of_namespace = routes.iter().filter(|(name, _)| name.namespace() == namespace);
    of_namespace.any(|(_, route)| route.rules.iter().any(|known| known.name == rule))
}

impl<'a> Dangling<'a> {
    /// `None` for a policy that guards nothing: without it nothing is more open.
    pub(super) fn new(
        policy: &'a PolicyState,
        target: &'a Target,
        missing: &str,
        routes: &BTreeMap<NamespacedName, ValidRoute>,
    ) -> Option<Self> {
        let restricts: Vec<_> = BlockKind::ALL.into_iter().filter(|kind| policy.blocks.restricts(*kind)).collect();
        if policy.mode == portreeve_crds::v1alpha1::PolicyMode::Shadow || restricts.is_empty() {
            return None;
        }
        let namespace = policy.name.namespace();
        let known = |route: &str| NamespacedName::new(namespace, route).is_ok_and(|name| routes.contains_key(&name));
        let (route, rule, rank) = match target {
            Target::Route(_) => (None, None, ROUTE),
            Target::Rule(route, _) if known(route) => (Some(route.clone()), None, RULE),
            Target::Rule(_, rule) if has_rule(namespace, rule, routes) => (None, Some(rule.as_str()), RULE),
            // Neither name is known: it may be meant for any rule.
            Target::Rule(..) => (None, None, RULE),
            Target::Namespace | Target::Unclear(_) => return None,
        };
        let message = format!(
            "ApiPolicy {}: {missing}; until then, rules that it could be meant for and that no policy as specific covers \
             are refused",
            policy.name
        );
        Some(Self { policy, message, route, rule, rank, restricts })
    }

    /// Whether the policy could have been meant for this rule of its own namespace, and nothing as specific says what it would have said.
    /// `places` has the policy of each rank.
    pub(super) fn may_mean(&self, route: &NamespacedName, rule: &str, places: &[Option<&PolicyState>]) -> bool {
        let here = self.route.as_deref().is_none_or(|named| named == route.name())
            && self.rule.is_none_or(|named| named == rule);
        let as_specific = || places.iter().take(self.rank.saturating_add(1)).flatten();
        let said = |kind: &BlockKind| as_specific().any(|policy| policy.blocks.says(*kind));
        here && !self.restricts.iter().all(said)
    }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::Authentication;

    use super::{
        super::{
            Blocks,
            tests::{broken, policy, scopes, token, valid},
        },
        *,
    };

    /// Whether a policy could be meant for the rule `read` of the route `orders`, where these policies are in force at
    /// the ranks.
    fn may_mean(
        blocks: Blocks,
        route: Option<&str>,
        rule: Option<&str>,
        rank: usize,
        places: &[Option<Blocks>],
    ) -> bool {
        let (policy_of, missing) = (policy("dangling", blocks), "is missing");
        let target = Target::Route("gone".to_owned());
        let mut dangling = Dangling::new(&policy_of, &target, missing, &BTreeMap::new()).unwrap();
        (dangling.route, dangling.rule, dangling.rank) = (route.map(str::to_owned), rule, rank);
        let places: Vec<_> = places.iter().map(|blocks| blocks.clone().map(|blocks| policy("other", blocks))).collect();
        let places: Vec<_> = places.iter().map(Option::as_ref).collect();
        dangling.may_mean(&NamespacedName::new("shop", "orders").unwrap(), "read", &places)
    }

    #[test]
    fn k7_a_policy_without_target_may_mean_what_nothing_as_specific_covers() {
        let both = || valid(Some(token()), Some(scopes()));
        let nothing: [Option<Blocks>; 4] = [None, None, None, None];
        for (route, rule, expected) in [
            (None, None, true),
            (Some("orders"), None, true),
            (Some("stock"), None, false),
            (None, Some("read"), true),
            (None, Some("write"), false),
        ] {
            assert_eq!(may_mean(both(), route, rule, ROUTE, &nothing), expected, "{route:?} {rule:?}");
        }
        let at = |place: usize, blocks: Blocks| {
            let mut places: [Option<Blocks>; 4] = [None, None, None, None];
            places[place] = Some(blocks);
            places
        };
        let (who, what) = (|| valid(Some(token()), None), || valid(None, Some(scopes())));
        // Each block by itself: what another policy as specific says of it is what its owner relies on.
        for (dangling, there, expected) in [
            (who(), who(), false),
            (who(), what(), true),
            (what(), what(), false),
            (what(), who(), true),
            (both(), who(), true),
            (both(), what(), true),
            (both(), both(), false),
            (both(), broken(), false),
            (broken(), both(), false),
            (broken(), who(), true),
            (who(), valid(Some(Authentication::Anonymous), None), false),
        ] {
            let found = may_mean(dangling.clone(), None, None, ROUTE, &at(ROUTE, there.clone()));
            assert_eq!(found, expected, "{dangling:?} beside {there:?}");
        }
        // Less specific ones say nothing there.
        assert!(may_mean(both(), None, None, RULE, &at(ROUTE, both())));
        assert!(may_mean(both(), None, None, ROUTE, &at(3, both())));
        assert!(!may_mean(both(), None, None, ROUTE, &at(RULE, both())));
        assert!(!may_mean(both(), None, None, RULE, &at(0, both())));
    }

    #[test]
    fn k7_a_policy_that_guards_nothing_or_is_a_dry_run_closes_nothing() {
        let target = Target::Route("gone".to_owned());
        let closes = |policy: &PolicyState| Dangling::new(policy, &target, "", &BTreeMap::new()).is_some();
        assert!(!closes(&policy("p", valid(Some(Authentication::Anonymous), None))));
        assert!(!closes(&policy("p", valid(None, None))));
        for blocks in [valid(Some(token()), None), valid(None, Some(scopes())), broken()] {
            assert!(closes(&policy("p", blocks.clone())));
            let shadow = PolicyState { mode: portreeve_crds::v1alpha1::PolicyMode::Shadow, ..policy("p", blocks) };
            assert!(!closes(&shadow));
        }
    }
}
