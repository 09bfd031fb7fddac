//! What each object's status says, from what was compiled and what the fleet acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::{ConditionReason, ConditionType, ObjectKind, ObjectRef, v1alpha1::OwnedScopes};
use portreeve_policy::NamespacedName;
use serde::Serialize;

use crate::{Compiled, Findings};

/// What the connected proxies run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetView {
    /// By pod; a pod that is missing here has no live stream.
    pub pods: BTreeMap<NamespacedName, PodView>,
}

/// What one proxy runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodView {
    /// Routes that it acknowledged in the form that is compiled now.
    pub current: BTreeSet<NamespacedName>,
    /// Routes that it cannot run, with its reason.
    pub rejected: BTreeMap<NamespacedName, String>,
}

/// The status of one object, without times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStatus {
    /// Generation that it speaks of.
    pub observed_generation: u64,
    /// In the order of their types.
    pub conditions: Vec<Condition>,
    /// `n/m`, for kinds that are programmed into proxies.
    pub programmed: Option<String>,
    /// Signing keys, for a TokenService.
    pub keys: Option<usize>,
    /// The scopes that an ApiRoute owns.
    pub owned_scopes: Vec<OwnedScopes>,
}

/// One condition (KEP-1623), without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it speaks of.
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// For machines.
    pub reason: ConditionReason,
    /// For people.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the words of Kubernetes")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Stragglers that a message names; the rest is counted.
const NAMED_STRAGGLERS: usize = 5;

/// The status of every object but for what registration adds to ClientRegistrations.
pub fn statuses(compiled: &Compiled, fleet: &FleetView) -> BTreeMap<ObjectRef, ObjectStatus> {
    let of = |(object, findings): (&ObjectRef, &Findings)| (object.clone(), status(object, findings, compiled, fleet));
    compiled.findings.iter().map(of).collect()
}

fn status(object: &ObjectRef, findings: &Findings, compiled: &Compiled, fleet: &FleetView) -> ObjectStatus {
    use ConditionType::{Accepted, Programmed, Ready, ResolvedRefs, Stalled};
    let programmed = match object.kind {
        ObjectKind::ApiRoute | ObjectKind::ApiPolicy => Some(progress(findings, compiled, fleet)),
        ObjectKind::ClientRegistration | ObjectKind::TokenService => None,
    };
    let mut conditions = vec![
        of_fault(Accepted, ConditionReason::Accepted, findings.not_accepted.as_ref()),
        of_fault(ResolvedRefs, ConditionReason::ResolvedRefs, findings.unresolved.as_ref()),
    ];
    conditions.extend(
        findings
            .scopes
            .as_ref()
            .map(|told| of_fault(ConditionType::ScopesOwned, ConditionReason::Owned, told.as_ref().err())),
    );
    // GEP-713: a policy that is not accepted carries no Programmed, unless it lost only some of its targets.
    let lost =
        |(reason, _): &(ConditionReason, String)| *reason != ConditionReason::Conflicted || findings.routes.is_empty();
    let is_lost = object.kind == ObjectKind::ApiPolicy && findings.not_accepted.as_ref().is_some_and(lost);
    let programmed = programmed.filter(|_| !is_lost);
    conditions.extend(programmed.clone().map(|progress| progress.condition(Programmed)));
    let fault = findings.not_accepted.as_ref().or(findings.unresolved.as_ref()).or(findings.refusing.as_ref());
    conditions.push(match (fault, &programmed) {
        (Some((reason, message)), _) => condition(Ready, ConditionStatus::False, *reason, message),
        (None, Some(progress)) if progress.done() => {
            condition(Ready, ConditionStatus::True, ConditionReason::Ready, &progress.message)
        }
        (None, Some(progress)) => condition(Ready, ConditionStatus::False, progress.reason, &progress.message),
        // What registration finds is added by whoever registers.
        (None, None) => condition(Ready, ConditionStatus::True, ConditionReason::Ready, ""),
    });
    if let Some((reason, message)) = fault.filter(|(reason, _)| only_an_edit_helps(*reason)) {
        conditions.push(condition(Stalled, ConditionStatus::True, *reason, message));
    }
    ObjectStatus {
        observed_generation: findings.generation,
        conditions,
        programmed: programmed.map(|progress| format!("{}/{}", progress.have, progress.wanted)),
        keys: findings.keys,
        owned_scopes: findings.owned_scopes.clone(),
    }
}

#[derive(Debug, Clone)]
struct Progress {
    have: usize,
    wanted: usize,
    reason: ConditionReason,
    message: String,
}

impl Progress {
    fn done(&self) -> bool {
        self.reason == ConditionReason::Programmed
    }

    fn condition(self, kind: ConditionType) -> Condition {
        let status = if self.done() { ConditionStatus::True } else { ConditionStatus::False };
        condition(kind, status, self.reason, &self.message)
    }
}

/// Counts Ready pods that acknowledged every route concerned in the form that is compiled now.
fn progress(findings: &Findings, compiled: &Compiled, fleet: &FleetView) -> Progress {
    let mut wanted: BTreeMap<&NamespacedName, bool> = BTreeMap::new();
    let mut rejection = None;
    for route in &findings.routes {
        for pod in compiled.ready_pods.get(route).into_iter().flatten() {
            let view = fleet.pods.get(pod);
            let current = view.is_some_and(|view| view.current.contains(route));
            *wanted.entry(pod).or_insert(true) &= current;
            let reason = view.and_then(|view| view.rejected.get(route));
            rejection = rejection.or_else(|| reason.map(|reason| (pod, route, reason)));
        }
    }
    let have = wanted.values().filter(|current| **current).count();
    let total = wanted.len();
    let stragglers: Vec<_> = wanted.iter().filter(|(_, current)| !**current).map(|(pod, _)| pod.to_string()).collect();
    let (reason, message) = if let Some((pod, route, why)) = rejection {
        (
            ConditionReason::Rejected,
            format!("{have} of {total} Ready pods; pod {pod} cannot run ApiRoute {route}: {why}"),
        )
    } else if findings.routes.is_empty() {
        let message = "no ApiRoute is governed by it; create the route, or correct targetRefs";
        (ConditionReason::NoPods, message.to_owned())
    } else if total == 0 {
        let message =
            "no Ready pod carries the labels of the route's workloadSelector; start one, or correct the labels";
        (ConditionReason::NoPods, message.to_owned())
    } else if have == total {
        (ConditionReason::Programmed, format!("acknowledged by {have} of {total} Ready pods"))
    } else {
        let reason = if have == 0 { ConditionReason::Pending } else { ConditionReason::PartiallyProgrammed };
        (reason, format!("acknowledged by {have} of {total} Ready pods; waiting for {}", named(&stragglers)))
    };
    Progress { have, wanted: total, reason, message }
}

fn named(stragglers: &[String]) -> String {
    let shown: Vec<_> = stragglers.iter().take(NAMED_STRAGGLERS).map(String::as_str).collect();
    match stragglers.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn of_fault(kind: ConditionType, good: ConditionReason, fault: Option<&(ConditionReason, String)>) -> Condition {
    match fault {
        None => condition(kind, ConditionStatus::True, good, ""),
        Some((reason, message)) => condition(kind, ConditionStatus::False, *reason, message),
    }
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: ConditionReason, message: &str) -> Condition {
    Condition { kind, status, reason, message: message.to_owned() }
}

/// What waiting cannot cure (kstatus: `Stalled` means failed at once).
fn only_an_edit_helps(reason: ConditionReason) -> bool {
    use ConditionReason as R;
    matches!(
        reason,
        R::Invalid
            | R::InvalidPolicy
            | R::UnsupportedField
            | R::Conflicted
            | R::NoPolicy
            | R::TargetNotFound
            | R::LimitExceeded
            | R::NotPermitted
    )
}
