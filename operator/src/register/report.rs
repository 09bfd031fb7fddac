//! What registration tells of one object.

use portreeve_compiler::Condition;

/// What registration found out about one ClientRegistration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistrationReport {
    /// Generation that it speaks of.
    pub(crate) generation: u64,
    /// Registered, CredentialsCurrent, MetadataHonoured, Ready, perhaps Stalled.
    pub(crate) conditions: Vec<Condition>,
    /// OAuth client identifier.
    pub(crate) client_id: Option<String>,
    /// RFC 3339.
    pub(crate) issued_at: Option<String>,
    /// RFC 3339.
    pub(crate) secret_expires_at: Option<String>,
}
