//! What a change of objects means for requests: which rules become more open, more closed, or other in what is no matter
//! of access. Decided over what was compiled, not over texts.
//!
//! INVARIANT: a request that passes after the change and did not before is covered by a [`Verdict::MoreOpen`]. What cannot
//! be compared counts as more open.

mod guard;
mod region;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use portreeve_policy::{NamespacedName, Route, Rule, RuleState, Snapshot};

use self::region::Region;
pub use guard::Comparison;

/// What a change does to the requests of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Some request may pass that did not before.
    MoreOpen,
    /// No request passes that did not before, and some do not any more.
    MoreClosed,
    /// The same requests pass, and something else is other.
    Changed,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The ApiRoute.
    pub route: NamespacedName,
    /// The rule, as it is called after the change if it is there.
    pub rule: String,
    /// What it means.
    pub verdict: Verdict,
    /// What is other, in words.
    pub what: String,
}

impl Verdict {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MoreOpen => "more open",
            Self::MoreClosed => "more closed",
            Self::Changed => "changed",
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: rule {} of ApiRoute {}: {}", self.verdict.as_str(), self.rule, self.route, self.what)
    }
}

/// A rule, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Placed<'a> {
    snapshot: &'a Snapshot,
    name: &'a NamespacedName,
    route: &'a Route,
    rule: &'a Rule,
}

/// One match of a rule on one host.
struct Claim<'a> {
    placed: Placed<'a>,
    key: Key<'a>,
    region: Region<'a>,
}

/// Compares what one pod runs before and after.
pub fn diff(before: &Snapshot, after: &Snapshot) -> BTreeSet<Change> {
    let mut found = BTreeSet::new();
    let renamed = renamed(before, after);
    let (old, new) = (by_name(before, &Renamed::new()), by_name(after, &renamed));
    for (key, after) in &new {
        let Some(before) = old.get(key) else { continue };
        let mut comparison = guard::compare(*before, *after);
        if before.rule.name != after.rule.name {
            comparison.changes.push(format!("it was called {}", before.rule.name));
        }
        comparison.report(after, &mut found);
    }
    let (old, new) = (claims(before, &Renamed::new()), claims(after, &renamed));
    for claim in old.iter().filter(|claim| !new.iter().any(|other| other.is_same(claim))) {
        rerouted(claim, &old, &new, true, &mut found);
    }
    for claim in new.iter().filter(|claim| !old.iter().any(|other| other.is_same(claim))) {
        rerouted(claim, &old, &new, false, &mut found);
    }
    found
}

type Key<'a> = (&'a NamespacedName, &'a str);

/// What rules were called before, where a rule has another name at the same position.
type Renamed<'a> = BTreeMap<Key<'a>, &'a str>;

fn renamed<'a>(before: &'a Snapshot, after: &'a Snapshot) -> Renamed<'a> {
    let mut renamed = Renamed::new();
    for (name, new) in &after.routes {
        let Some(old) = before.routes.get(name) else { continue };
        let has = |route: &Route, rule: &Rule| route.rules.iter().any(|other| other.name == rule.name);
        for (was, is) in old.rules.iter().zip(&new.rules) {
            if !has(new, was) && !has(old, is) {
                renamed.insert((name, is.name.as_str()), was.name.as_str());
            }
        }
    }
    renamed
}

/// The rule's name before the change.
fn key<'a>(placed: Placed<'a>, renamed: &Renamed<'a>) -> Key<'a> {
    let name = placed.rule.name.as_str();
    (placed.name, renamed.get(&(placed.name, name)).copied().unwrap_or(name))
}

fn by_name<'a>(snapshot: &'a Snapshot, renamed: &Renamed<'a>) -> BTreeMap<Key<'a>, Placed<'a>> {
    placed(snapshot).map(|placed| (key(placed, renamed), placed)).collect()
}

fn placed(snapshot: &Snapshot) -> impl Iterator<Item = Placed<'_>> {
    snapshot
        .routes
        .iter()
        .flat_map(move |(name, route)| route.rules.iter().map(move |rule| Placed { snapshot, name, route, rule }))
}

fn claims<'a>(snapshot: &'a Snapshot, renamed: &Renamed<'a>) -> Vec<Claim<'a>> {
    let mut claims = Vec::new();
    for placed in placed(snapshot) {
        for matched in &placed.rule.matches {
            for host in region::hosts(placed.route) {
                claims.push(Claim { placed, key: key(placed, renamed), region: Region { host, matched } });
            }
        }
    }
    claims
}

impl Claim<'_> {
    fn is_same(&self, other: &Claim<'_>) -> bool {
        self.key == other.key && self.region == other.region
    }

    fn can_permit(&self) -> bool {
        matches!(self.placed.rule.state, RuleState::Ready(_))
    }
}

/// A match came or went: requests in its region may meet another rule than before.
fn rerouted(claim: &Claim<'_>, old: &[Claim<'_>], new: &[Claim<'_>], is_gone: bool, found: &mut BTreeSet<Change>) {
    let overlaps = |other: &&Claim<'_>| other.region.overlaps(&claim.region);
    let word = if is_gone { "no longer matches" } else { "matches" };
    let change = |verdict, what: String| Change {
        route: claim.placed.name.clone(),
        rule: claim.placed.rule.name.clone(),
        verdict,
        what: format!("it {word} {}{what}", claim.region),
    };
    let before: Vec<_> = old.iter().filter(overlaps).collect();
    let mut opens = false;
    for taker in new.iter().filter(overlaps).filter(|taker| taker.can_permit()) {
        let of_taker = |what: &str| {
            let Placed { name, rule, .. } = taker.placed;
            format!(": requests go to rule {} of ApiRoute {name}, {what}", rule.name)
        };
        let unguarded = before.iter().find_map(|held| {
            let mut opened = guard::compare(held.placed, taker.placed).opens;
            if held.region.matched.path != taker.region.matched.path
                && (guard::looks_at_the_match(held.placed) || guard::looks_at_the_match(taker.placed))
            {
                opened.push("a condition looks at the match, which counts as more open".to_owned());
            }
            let Placed { name, rule, .. } = held.placed;
            opened.first().map(|why| format!("and may have gone to rule {} of ApiRoute {name}: {why}", rule.name))
        });
        // A region that nothing covered was refused.
        let narrower = if claim.region.covers(&taker.region) { &taker.region } else { &claim.region };
        let covered = before.iter().any(|held| held.region.covers(narrower));
        if let Some(why) = unguarded {
            opens = true;
            found.insert(change(Verdict::MoreOpen, of_taker(&why)));
        } else if !covered {
            opens = true;
            found.insert(change(Verdict::MoreOpen, of_taker("and some of them went to none before")));
        }
    }
    if !opens {
        let refused_all = before.iter().all(|held| !held.can_permit());
        found.insert(change(if refused_all { Verdict::Changed } else { Verdict::MoreClosed }, String::new()));
    }
}
