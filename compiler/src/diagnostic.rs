//! Findings of the compiler, each with object, field, reason and cure.

use std::fmt;

use portreeve_crds::{ConditionReason, ObjectRef};
use serde::Serialize;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The object that has to change.
    pub object: ObjectRef,
    /// Field path, e.g. `spec.rules[0].matches[0].path.value`; empty for the object as a whole.
    pub path: String,
    /// Line and column within the text that stands in the field, both from 1, where that is known.
    pub within: Option<(u64, u64)>,
    /// For machines.
    pub reason: ConditionReason,
    /// Whether anything is refused because of it.
    pub severity: Severity,
    /// What is wrong, and what to do. Names objects, never secrets.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// Something is refused until this is corrected.
    Error,
    /// Nothing is refused, but somebody should look.
    Warning,
}

impl Diagnostic {
    /// A finding that makes something be refused.
    pub(crate) fn error(
        object: &ObjectRef,
        path: impl Into<String>,
        reason: ConditionReason,
        message: impl Into<String>,
    ) -> Self {
        let (path, message) = (path.into(), message.into());
        Self { object: object.clone(), path, within: None, reason, severity: Severity::Error, message }
    }

    /// A finding that refuses nothing.
    pub(crate) fn warning(
        object: &ObjectRef,
        path: impl Into<String>,
        reason: ConditionReason,
        message: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(object, path, reason, message) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, path, message, .. } = self;
        if path.is_empty() { write!(f, "{object}: {message}") } else { write!(f, "{object} {path}: {message}") }
    }
}
