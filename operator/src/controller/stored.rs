//! Statuses as they stand in the object, and what may change in them.
//!
//! INVARIANTS
//! - What changes nothing is not written; a time changes only with its condition's status.
//! - `Programmed` is latched per generation and content: a pod that is still starting does not make a programmed route
//!   unprogrammed, while message and count go on telling the truth. A route that compiles to something else, or whose
//!   secrets or keys are others, is programmed anew. The content stands in the status, so that every replica says the same.

use std::collections::BTreeMap;

use portreeve_compiler::{Condition, ConditionStatus};
use portreeve_crds::{ConditionReason, ConditionType, ObjectRef, v1alpha1::OwnedScopes};
use serde::{Deserialize, Serialize};

use super::status::DesiredStatus;
use crate::register::RegistrationFacts;

/// A status as it stands in the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StoredStatus {
    pub(crate) observed_generation: Option<u64>,
    pub(crate) conditions: Vec<StoredCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) programmed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) programmed_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) owned_scopes: Vec<OwnedScopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<usize>,
    #[serde(flatten)]
    pub(crate) facts: RegistrationFacts,
}

/// One condition with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredCondition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) observed_generation: Option<u64>,
    pub(crate) last_transition_time: String,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What is to be done about one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It says so already.
    Unchanged,
    /// It is to be written.
    Write {
        /// The new status.
        status: Box<StoredStatus>,
        /// Conditions of which people are told when they turn: Ready, and access that is not granted any more.
        turned: Vec<StoredCondition>,
    },
}

/// Remembers what was written.
#[derive(Default)]
pub(super) struct StatusCache {
    written: BTreeMap<(ObjectRef, String), StoredStatus>,
}

impl StatusCache {
    /// Forgets all but these objects.
    pub(super) fn retain(&mut self, wanted: impl Fn(&ObjectRef, &str) -> bool) {
        self.written.retain(|(object, uid), _| wanted(object, uid));
    }

    /// Forgets what was written, so that everything is compared with the objects again.
    pub(super) fn doubt(&mut self) {
        self.written.clear();
    }

    /// Notes that a status was written.
    pub(super) fn wrote(&mut self, object: &ObjectRef, uid: &str, status: StoredStatus) {
        self.written.insert((object.clone(), uid.to_owned()), status);
    }

    /// Compares what shall be with what is. `settling`: proxies have had no time yet to come back to us.
    pub(super) fn judge(
        &mut self,
        (object, uid): (&ObjectRef, &str),
        desired: DesiredStatus,
        content: String,
        present: Option<StoredStatus>,
        settling: bool,
        now: &str,
    ) -> Verdict {
        let key = (object.clone(), uid.to_owned());
        let previous = self.written.get(&key).cloned().or(present).unwrap_or_default();
        let DesiredStatus { mut status, facts } = desired;
        let same_generation = previous.observed_generation == Some(status.observed_generation);
        // Only what an earlier process or leader said is held on to; what we saw ourselves is told at once.
        let inherited = settling && !self.written.contains_key(&key);
        if inherited && same_generation && previous.holds("Ready") && only_waits(&status.conditions) {
            return Verdict::Unchanged;
        }
        let is =
            |conditions: &[Condition], kind, wanted| conditions.iter().any(|c| c.kind == kind && c.status == wanted);
        let programmed = is(&status.conditions, ConditionType::Programmed, ConditionStatus::True);
        let latched = !programmed
            && same_generation
            && previous.holds("Programmed")
            && previous.programmed_content.as_ref() == Some(&content);
        if latched {
            latch(&mut status.conditions);
        }
        let programmed_content = (programmed || latched).then_some(content);
        let conditions: Vec<_> = status
            .conditions
            .into_iter()
            .map(|condition| stored(condition, status.observed_generation, &previous, now))
            .collect();
        let next = StoredStatus {
            observed_generation: Some(status.observed_generation),
            conditions,
            programmed: status.programmed,
            programmed_content,
            owned_scopes: status.owned_scopes,
            keys: status.keys,
            facts,
        };
        if next == previous {
            self.written.insert(key, next);
            return Verdict::Unchanged;
        }
        let turned = |kind: &str| {
            let now = next.condition(kind)?;
            let before = previous.condition(kind);
            before.is_none_or(|before| before.status != now.status).then(|| now.clone())
        };
        let access = turned("AccessGranted").filter(|access| access.status == "False");
        let turned = turned("Ready").into_iter().chain(access).collect();
        Verdict::Write { turned, status: Box::new(next) }
    }
}

/// Whether nothing is wrong but what time cures: proxies that come back, token services that are read, registrations that
/// are looked at.
fn only_waits(conditions: &[Condition]) -> bool {
    use ConditionReason as R;
    let ready = conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
    ready.is_some_and(|ready| {
        matches!(
            ready.reason,
            R::AwaitingKeys
                | R::AwaitingRegistration
                | R::NoPods
                | R::PartiallyProgrammed
                | R::Pending
                | R::Progressing
                | R::TokenServiceUnavailable
        )
    })
}

/// Keeps Programmed and Ready true where only pods are missing.
fn latch(conditions: &mut [Condition]) {
    use ConditionReason::{NoPods, PartiallyProgrammed, Pending};
    let waits = |c: &Condition| matches!(c.reason, NoPods | PartiallyProgrammed | Pending);
    for condition in conditions.iter_mut().filter(|condition| waits(condition)) {
        let reason = match condition.kind {
            ConditionType::Programmed => ConditionReason::Programmed,
            ConditionType::Ready => ConditionReason::Ready,
            ConditionType::AccessGranted
            | ConditionType::Accepted
            | ConditionType::CredentialsCurrent
            | ConditionType::MetadataAccepted
            | ConditionType::Registered
            | ConditionType::ResolvedRefs
            | ConditionType::ScopesOwned
            | ConditionType::Stalled => continue,
        };
        condition.status = ConditionStatus::True;
        condition.reason = reason;
    }
}

fn stored(condition: Condition, generation: u64, previous: &StoredStatus, now: &str) -> StoredCondition {
    let Condition { kind, status, reason, message } = condition;
    let (kind, status) = (kind.to_string(), format!("{status:?}"));
    let before = previous.condition(&kind).filter(|before| before.status == status);
    let since = before.map_or(now, |before| before.last_transition_time.as_str()).to_owned();
    // The API's bound.
    let message = message.chars().take(8192).collect();
    let observed_generation = Some(generation);
    StoredCondition {
        kind,
        status,
        observed_generation,
        last_transition_time: since,
        reason: reason.to_string(),
        message,
    }
}

impl StoredStatus {
    /// The condition of a type.
    pub(crate) fn condition(&self, kind: &str) -> Option<&StoredCondition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    fn holds(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }
}

#[cfg(test)]
mod tests {
    use portreeve_compiler::ObjectStatus;
    use portreeve_crds::ObjectKind;

    use super::*;

    fn desired(generation: u64, reason: ConditionReason, programmed: &str) -> DesiredStatus {
        let good = reason == ConditionReason::Programmed;
        let status = if good { ConditionStatus::True } else { ConditionStatus::False };
        let condition = |kind, reason| Condition { kind, status, reason, message: programmed.to_owned() };
        let ready = if good { ConditionReason::Ready } else { reason };
        let conditions = vec![condition(ConditionType::Programmed, reason), condition(ConditionType::Ready, ready)];
        DesiredStatus::compiled(ObjectStatus {
            observed_generation: generation,
            conditions,
            programmed: Some(programmed.to_owned()),
            keys: None,
            owned_scopes: Vec::new(),
        })
    }

    fn object() -> ObjectRef {
        ObjectRef::new(ObjectKind::ApiRoute, "shop", "a")
    }

    fn write(ledger: &mut StatusCache, desired: DesiredStatus, fingerprint: &str, now: &str) -> Option<StoredStatus> {
        let object = object();
        match ledger.judge((&object, "u"), desired, fingerprint.to_owned(), None, false, now) {
            Verdict::Unchanged => None,
            Verdict::Write { status, .. } => {
                ledger.wrote(&object, "u", (*status).clone());
                Some(*status)
            }
        }
    }

    #[test]
    fn writes_only_what_changes_and_keeps_times() {
        let mut ledger = StatusCache::default();
        let first = write(&mut ledger, desired(1, ConditionReason::Pending, "0/1"), "a", "t1").unwrap();
        assert!(write(&mut ledger, desired(1, ConditionReason::Pending, "0/1"), "a", "t2").is_none());
        let second = write(&mut ledger, desired(1, ConditionReason::Pending, "0/2"), "a", "t3").unwrap();
        assert_eq!(second.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
        let third = write(&mut ledger, desired(1, ConditionReason::Programmed, "2/2"), "a", "t4").unwrap();
        assert_eq!(third.conditions[0].last_transition_time, "t4");
    }

    #[test]
    fn programmed_is_latched_until_generation_or_content_change() {
        use ConditionReason::{PartiallyProgrammed, Pending, Programmed, Rejected};
        for (generation, fingerprint, reason, expected) in [
            (1, "a", PartiallyProgrammed, "True"),
            (1, "a", Pending, "True"),
            (1, "a", Rejected, "False"),
            (1, "b", PartiallyProgrammed, "False"),
            (2, "a", PartiallyProgrammed, "False"),
        ] {
            let mut ledger = StatusCache::default();
            write(&mut ledger, desired(1, Programmed, "1/1"), "a", "t1");
            let next = write(&mut ledger, desired(generation, reason, "1/2"), fingerprint, "t2").unwrap();
            assert_eq!(next.programmed.as_deref(), Some("1/2"), "the count tells the truth");
            for kind in ["Programmed", "Ready"] {
                assert_eq!(next.condition(kind).unwrap().status, expected, "{kind} {fingerprint} {reason:?}");
            }
        }
    }

    #[test]
    fn k13_a_new_leader_says_what_the_old_one_said() {
        use ConditionReason::{PartiallyProgrammed, Programmed};
        let stored = write(&mut StatusCache::default(), desired(1, Programmed, "1/1"), "a", "t1");
        let object = object();
        for (fingerprint, expected) in [("a", "True"), ("b", "False")] {
            let waits = desired(1, PartiallyProgrammed, "1/2");
            let present = stored.clone();
            let judged =
                StatusCache::default().judge((&object, "u"), waits, fingerprint.to_owned(), present, false, "t2");
            let Verdict::Write { status, turned } = judged else { panic!() };
            assert_eq!(status.condition("Programmed").unwrap().status, expected);
            assert_eq!(turned.is_empty(), expected == "True", "nobody is told of what did not change");
        }
    }

    #[test]
    fn c3_access_that_is_not_granted_any_more_is_told() {
        let with_access = |status| {
            let mut desired = desired(1, ConditionReason::Programmed, "1/1");
            let access = Condition {
                kind: ConditionType::AccessGranted,
                status,
                reason: ConditionReason::AccessPending,
                message: "the client keeps a".to_owned(),
            };
            desired.status.conditions.push(access);
            desired
        };
        let mut ledger = StatusCache::default();
        write(&mut ledger, with_access(ConditionStatus::True), "a", "t1");
        let object = object();
        let lost = with_access(ConditionStatus::False);
        let judged = ledger.judge((&object, "u"), lost, "a".to_owned(), None, false, "t2");
        let Verdict::Write { turned, .. } = judged else { panic!() };
        assert_eq!(turned.iter().map(|turned| turned.message.as_str()).collect::<Vec<_>>(), ["the client keeps a"]);
    }

    #[test]
    fn after_a_restart_proxies_get_time_to_come_back() {
        let mut before = StatusCache::default();
        let stored = write(&mut before, desired(1, ConditionReason::Programmed, "1/1"), "a", "t1");
        let object = object();
        let judge = |reason, generation, settling, content: &str| {
            let pending = desired(generation, reason, "0/1");
            StatusCache::default().judge((&object, "u"), pending, content.to_owned(), stored.clone(), settling, "t2")
        };
        assert_eq!(judge(ConditionReason::Pending, 1, true, "b"), Verdict::Unchanged);
        for (reason, generation, settling, content) in [
            (ConditionReason::Pending, 1, false, "b"),
            (ConditionReason::Pending, 2, true, "a"),
            (ConditionReason::Rejected, 1, true, "a"),
        ] {
            let Verdict::Write { status, .. } = judge(reason, generation, settling, content) else { panic!() };
            assert_eq!(status.condition("Programmed").unwrap().status, "False");
        }
    }

    #[test]
    fn tells_when_ready_turns() {
        let mut ledger = StatusCache::default();
        let object = object();
        let mut turned = |reason, text| match ledger.judge(
            (&object, "u"),
            desired(1, reason, text),
            "a".to_owned(),
            None,
            false,
            "t",
        ) {
            Verdict::Unchanged => panic!(),
            Verdict::Write { status, turned } => {
                ledger.wrote(&object, "u", *status);
                turned.into_iter().next().map(|ready| ready.status)
            }
        };
        assert_eq!(turned(ConditionReason::Pending, "0/1").as_deref(), Some("False"));
        assert_eq!(turned(ConditionReason::Pending, "0/2"), None);
        assert_eq!(turned(ConditionReason::Programmed, "2/2").as_deref(), Some("True"));
    }
}
