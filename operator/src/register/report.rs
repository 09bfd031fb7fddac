//! What registration tells of one object.

use portreeve_compiler::Condition;
use portreeve_crds::v1alpha1::{AccessState, ServerErrorStatus};
use serde::{Deserialize, Serialize};

/// What registration found out about one ClientRegistration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistrationReport {
    /// Generation that it speaks of.
    pub(crate) generation: u64,
    /// AccessGranted, Registered, CredentialsCurrent, MetadataAccepted, Ready, perhaps Stalled.
    pub(crate) conditions: Vec<Condition>,
    /// What stands beside the conditions in the status.
    pub(crate) facts: RegistrationFacts,
}

/// The fields of a ClientRegistration's status, with times in RFC 3339; no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RegistrationFacts {
    /// OAuth client identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_id: Option<String>,
    /// When it was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issued_at: Option<String>,
    /// When the secret ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_expires_at: Option<String>,
    /// When the present credentials were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_rotation: Option<String>,
    /// When they are to be renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_rotation: Option<String>,
    /// Until when those before them are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old_credentials_until: Option<String>,
    /// What the token service said last, when it refused something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<ServerErrorStatus>,
    /// How access stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) access: Vec<AccessState>,
}
