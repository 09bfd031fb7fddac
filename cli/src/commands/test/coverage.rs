//! Which rules, and which conditions of theirs, the cases tried.
//!
//! A rule is covered when a request met it; a condition, when it refused one.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_policy::{Reason, RuleState, Snapshot};
use serde_json::Value;

use crate::commands::conditions::conditions;

/// What there is to cover, and what was.
#[derive(Default)]
pub(super) struct Coverage {
    rules: BTreeMap<(String, String), Rule>,
}

#[derive(Default)]
struct Rule {
    met: bool,
    /// Each condition with the reasons by which it refuses, and whether it did.
    conditions: BTreeMap<&'static str, (&'static [Reason], bool)>,
}

/// Parts and whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) covered: usize,
    pub(super) total: usize,
}

impl Share {
    /// In percent, rounded down; 100 where there is nothing to cover.
    pub(super) fn percent(self) -> usize {
        self.covered.saturating_mul(100).checked_div(self.total).unwrap_or(100)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { covered: self.covered.saturating_add(other.covered), total: self.total.saturating_add(other.total) }
    }
}

impl Coverage {
    /// What a snapshot holds is to be covered.
    pub(super) fn add(&mut self, snapshot: &Snapshot) {
        for (name, route) in &snapshot.routes {
            for rule in &route.rules {
                let entry = self.rules.entry((name.to_string(), rule.name.clone())).or_default();
                if let RuleState::Ready(guard) = &rule.state {
                    let all = conditions(guard).into_iter();
                    entry.conditions.extend(all.map(|condition| (condition.field, (condition.reasons, false))));
                }
            }
        }
    }

    /// A request was decided.
    pub(super) fn note(&mut self, record: &Value) {
        let text = |member: &str| record.get(member).and_then(Value::as_str).unwrap_or_default();
        let Some(rule) = self.rules.get_mut(&(text("route").to_owned(), text("rule").to_owned())) else { return };
        rule.met = true;
        let Some(reason) = Reason::parse(text("reason")) else { return };
        for (reasons, refused) in rule.conditions.values_mut() {
            *refused |= reasons.contains(&reason);
        }
    }

    pub(super) fn rules(&self) -> Share {
        let covered = self.rules.values().filter(|rule| rule.met).count();
        Share { covered, total: self.rules.len() }
    }

    pub(super) fn conditions(&self) -> Share {
        let all = || self.rules.values().flat_map(|rule| rule.conditions.values());
        Share { covered: all().filter(|(_, refused)| *refused).count(), total: all().count() }
    }

    /// What no case tried, in words.
    pub(super) fn missing(&self) -> BTreeSet<String> {
        let mut missing = BTreeSet::new();
        for ((route, name), rule) in &self.rules {
            if !rule.met {
                missing.insert(format!("rule {name} of ApiRoute {route}: no request met it"));
                continue;
            }
            let untried = rule.conditions.iter().filter(|(_, (_, refused))| !refused);
            missing
                .extend(untried.map(|(word, _)| format!("rule {name} of ApiRoute {route}: {word} refused no request")));
        }
        missing
    }
}
