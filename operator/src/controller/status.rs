//! The status of one object as it shall be: what the compiler says, with what registration found.

use portreeve_compiler::{Condition, ConditionStatus, ObjectStatus};
use portreeve_crds::{ConditionReason, ConditionType};

use crate::register::{RegistrationFacts, RegistrationReport};

/// The status of one object, without times of transitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DesiredStatus {
    pub(super) status: ObjectStatus,
    pub(super) facts: RegistrationFacts,
}

impl DesiredStatus {
    /// The status of an object that nobody registers.
    pub(super) fn compiled(status: ObjectStatus) -> Self {
        Self { status, facts: RegistrationFacts::default() }
    }

    /// The status of a ClientRegistration.
    pub(super) fn registered(mut status: ObjectStatus, report: Option<&RegistrationReport>) -> Self {
        let accepted =
            status.conditions.iter().any(|c| c.kind == ConditionType::Ready && c.status == ConditionStatus::True);
        let Some(report) = report else {
            if accepted {
                replace(
                    &mut status.conditions,
                    Condition {
                        kind: ConditionType::Ready,
                        status: ConditionStatus::False,
                        reason: ConditionReason::Pending,
                        message: "waiting to be registered".to_owned(),
                    },
                );
            }
            return Self::compiled(status);
        };
        for condition in &report.conditions {
            let summary = matches!(condition.kind, ConditionType::Ready | ConditionType::Stalled);
            // What the compiler finds comes first: registration has not seen that yet.
            if !summary || accepted {
                replace(&mut status.conditions, condition.clone());
            }
        }
        Self { status, facts: report.facts.clone() }
    }
}

/// Sets the condition of a type.
fn replace(conditions: &mut Vec<Condition>, condition: Condition) {
    match conditions.iter_mut().find(|known| known.kind == condition.kind) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: ConditionType, status: ConditionStatus) -> Condition {
        Condition { kind, status, reason: ConditionReason::Ready, message: String::new() }
    }

    fn status(ready: ConditionStatus) -> ObjectStatus {
        let conditions = vec![condition(ConditionType::Ready, ready)];
        ObjectStatus { observed_generation: 1, conditions, programmed: None, keys: None, owned_scopes: Vec::new() }
    }

    fn ready(desired: &DesiredStatus) -> ConditionStatus {
        desired.status.conditions.iter().find(|c| c.kind == ConditionType::Ready).unwrap().status
    }

    #[test]
    fn is_ready_only_when_registered_too() {
        use ConditionStatus::{False, True};
        let report = |ready| RegistrationReport {
            generation: 1,
            conditions: vec![condition(ConditionType::Ready, ready), condition(ConditionType::Registered, True)],
            facts: RegistrationFacts::default(),
        };
        for (compiled, registered, expected) in [
            (True, None, False),
            (True, Some(True), True),
            (True, Some(False), False),
            (False, Some(True), False),
            (False, None, False),
        ] {
            let desired = DesiredStatus::registered(status(compiled), registered.map(report).as_ref());
            assert_eq!(ready(&desired), expected, "{compiled:?} {registered:?}");
        }
    }
}
