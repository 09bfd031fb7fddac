//! First pass: each object by itself, from the words of the API into the types of the policy model. The API server's
//! own checks are repeated here, for files and older definitions do not pass through it.

mod authentication;
mod authorization;
mod cors;
mod exchange;
mod limits;
mod policy;
mod route;
mod token_service;
mod unreadable;

pub(crate) use authentication::{
    AuthenticationDraft, AuthenticatorDraft, CredentialDraft, CredentialKind, KeySourceDraft, UpstreamDraft,
};
pub(crate) use exchange::{ExchangeDraft, SubjectDraft};
pub(crate) use policy::{Target, ValidPolicy, validate_policy};
pub(crate) use route::{Selector, ValidRoute, ValidRule, validate_route};
pub(crate) use token_service::{ValidIntrospection, ValidTokenService, check_url, validate_token_service};
pub(crate) use unreadable::unreadable_route;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_crds::{ConditionReason, ObjectRef};
use serde_json::Value;

use crate::Diagnostic;

/// Age and name, in the order in which objects beat each other: older first, then by name (GEP-713).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PolicyAge {
    /// Seconds since 1970; an object without a timestamp is as old as can be, so that files rank by name.
    created: i64,
    name: String,
}

impl PolicyAge {
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        Self {
            created: metadata.creation_timestamp.as_ref().map_or(i64::MIN, |time| time.0.as_second()),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Before every object: of one whose age cannot be told, nobody may take the place.
    pub(crate) fn oldest() -> Self {
        Self { created: i64::MIN, name: String::new() }
    }

    /// The same for an object that cannot be read.
    pub(crate) fn of_value(value: &Value) -> Self {
        let metadata = value.get("metadata").and_then(|metadata| serde_json::from_value(metadata.clone()).ok());
        Self::of(&metadata.unwrap_or_default())
    }
}

/// The object's generation; 0 where nobody counts.
pub(crate) fn generation(metadata: &ObjectMeta) -> u64 {
    metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(0)
}

/// Collects the faults of one object.
pub(crate) struct Faults<'a> {
    object: &'a ObjectRef,
    found: Vec<Diagnostic>,
}

impl<'a> Faults<'a> {
    fn new(object: &'a ObjectRef) -> Self {
        Self { object, found: Vec::new() }
    }

    /// Notes a fault at a field.
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::error(self.object, path, ConditionReason::Invalid, message));
    }

    /// The value, or `None` with a note of what is wrong with the field.
    fn take<T, E: std::fmt::Display>(&mut self, path: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(path, error.to_string())).ok()
    }
}
