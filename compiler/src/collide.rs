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
    pub(crate) holder: NamespacedName,
    /// Whether the match covers a host or a method that no older route has. Nobody serves those requests.
    pub(crate) remainder: bool,
}

/// Who claims a host and path, and with which clause.
type Claims<'a> = BTreeMap<(Option<&'a HostnamePattern>, &'a PathMatch), Vec<(&'a NamespacedName, &'a Match)>>;

/// Collisions among routes that share a pod. Equal means: same host pattern, same path match, same headers, and a
/// method in common; what is merely broader is settled by specificity when a request comes.
pub(crate) fn collisions(
    groups: &BTreeSet<Vec<NamespacedName>>,
    routes: &BTreeMap<NamespacedName, ValidRoute>,
) -> BTreeSet<Collision> {
    let mut found = BTreeSet::new();
    for group in groups.iter().filter(|group| group.len() > 1) {
        let mut ranked: Vec<_> = group.iter().filter_map(|name| routes.get_key_value(name)).collect();
        ranked.sort_by_key(|(name, route)| (&route.seniority, *name));
        let mut claims: Claims<'_> = BTreeMap::new();
        for (name, route) in ranked {
            for (rule, position, clause) in clauses(route) {
                let mut lost_to = None;
                let mut remainder = false;
                for host in hosts(route) {
                    let holders = claims.entry((host, &clause.path)).or_default();
                    let rivals = holders.iter().filter(|(holder, other)| *holder != name && overlap(other, clause));
                    let (mut rivalled, mut covered) = (false, false);
                    for (holder, other) in rivals {
                        rivalled = true;
                        covered |= covers(other, clause);
                        lost_to.get_or_insert_with(|| (*holder).clone());
                    }
                    remainder |= !covered;
                    if !rivalled {
                        holders.push((name, clause));
                    }
                }
                if let Some(holder) = lost_to {
                    found.insert(Collision { route: name.clone(), rule, position, holder, remainder });
                }
            }
        }
    }
    found
}

fn clauses(route: &ValidRoute) -> impl Iterator<Item = (usize, usize, &Match)> {
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
        .filter(|(_, _, clause)| clause.reach.is_claim())
}

fn hosts(route: &ValidRoute) -> Vec<Option<&HostnamePattern>> {
    if route.hostnames.is_empty() { vec![None] } else { route.hostnames.iter().map(Some).collect() }
}

/// Whether every request of `ours` is one of `holder`'s; both have the same path.
fn covers(holder: &Match, ours: &Match) -> bool {
    let methods = holder.methods.is_empty() || (!ours.methods.is_empty() && ours.methods.is_subset(&holder.methods));
    holder.headers == ours.headers && methods
}

fn overlap(a: &Match, b: &Match) -> bool {
    let methods = a.methods.is_empty() || b.methods.is_empty() || !a.methods.is_disjoint(&b.methods);
    a.headers == b.headers && methods
}
