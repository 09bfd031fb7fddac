//! Two routes of one workload that claim the same requests: the older one keeps them, the other loses that match.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_policy::{HostnamePattern, Match, NamespacedName, PathMatch};

use crate::validate::ValidRoute;

/// A match that its route has to give up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Collision {
    pub(crate) route: NamespacedName,
    pub(crate) rule: usize,
    pub(crate) position: usize,
    /// The route that keeps the requests.
    pub(crate) winner: NamespacedName,
    /// Whether the match covers a host or a method that no older route has. Nobody serves those requests.
    pub(crate) remainder: bool,
}

/// Who claims a host and path, and with which matched.
type Claims<'a> = BTreeMap<(Option<&'a HostnamePattern>, &'a PathMatch), Vec<(&'a NamespacedName, &'a Match)>>;

/// Collisions among routes that share a pod. Equal means: same host pattern, same path match, same headers, and a
/// method in common; what is merely broader is decided by specificity when a request comes.
pub(crate) fn collisions(
    groups: &BTreeSet<Vec<NamespacedName>>,
    routes: &BTreeMap<NamespacedName, ValidRoute>,
) -> BTreeSet<Collision> {
    let mut found = BTreeSet::new();
    for group in groups.iter().filter(|group| group.len() > 1) {
        let mut ranked: Vec<_> = group.iter().filter_map(|name| routes.get_key_value(name)).collect();
        ranked.sort_by_key(|(name, route)| (&route.age, *name));
        let mut claims: Claims<'_> = BTreeMap::new();
        for (name, route) in ranked {
            for (rule, position, matched) in matches(route) {
                let mut lost_to = None;
                let mut remainder = false;
                for host in hosts(route) {
                    let claimants = claims.entry((host, &matched.path)).or_default();
                    let rivals = claimants.iter().filter(|(winner, other)| *winner != name && overlap(other, matched));
                    let (mut rivalled, mut covered) = (false, false);
                    for (winner, other) in rivals {
                        rivalled = true;
                        covered |= covers(other, matched);
                        lost_to.get_or_insert_with(|| (*winner).clone());
                    }
                    remainder |= !covered;
                    if !rivalled {
                        claimants.push((name, matched));
                    }
                }
                if let Some(winner) = lost_to {
                    found.insert(Collision { route: name.clone(), rule, position, winner, remainder });
                }
            }
        }
    }
    found
}

fn matches(route: &ValidRoute) -> impl Iterator<Item = (usize, usize, &Match)> {
    let numbered = |(i, rule): (usize, &'_ crate::validate::ValidRule)| -> Vec<(usize, usize)> {
        (0..rule.matches.len()).map(|position| (i, position)).collect()
    };
    route
        .rules
        .iter()
        .enumerate()
        .flat_map(numbered)
        .filter_map(|(rule, position)| Some((rule, position, route.rules.get(rule)?.matches.get(position)?)))
        // What a fault left unclear takes nothing from others.
        .filter(|(_, _, matched)| matched.reach.is_claim())
}

fn hosts(route: &ValidRoute) -> Vec<Option<&HostnamePattern>> {
    if route.hostnames.is_empty() { vec![None] } else { route.hostnames.iter().map(Some).collect() }
}

/// Whether every request of `ours` is one of `winner`'s; both have the same path.
fn covers(winner: &Match, ours: &Match) -> bool {
    let methods = winner.methods.is_empty() || (!ours.methods.is_empty() && ours.methods.is_subset(&winner.methods));
    winner.headers == ours.headers && methods
}

fn overlap(a: &Match, b: &Match) -> bool {
    let methods = a.methods.is_empty() || b.methods.is_empty() || !a.methods.is_disjoint(&b.methods);
    a.headers == b.headers && methods
}
