//! Condition types and reasons, as in KEP-1623 and the words of kstatus.

use std::fmt;

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The owners of the APIs that were asked for granted access.
    AccessGranted,
    /// The object is valid and was taken in.
    Accepted,
    /// Every Ready pod concerned acknowledged a revision that holds this generation.
    Programmed,
    /// The summary.
    Ready,
    /// The OAuth client exists at the token service.
    Registered,
    /// The credentials in the Secret are those of the registered client.
    CredentialsCurrent,
    /// The token service holds the metadata that was asked for.
    MetadataAccepted,
    /// Everything referred to exists and may be used.
    ResolvedRefs,
    /// Every scope that the ApiRoute names is its own at some token service.
    ScopesOwned,
    /// Only an edit can cure what is wrong.
    Stalled,
}

/// Why a condition stands as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the reasons as users read them; docs/status.md explains each")]
pub enum ConditionReason {
    AccessDenied,
    AccessGranted,
    AccessPending,
    Accepted,
    AnotherIssuer,
    AwaitingKeys,
    AwaitingRegistration,
    ChangedByServer,
    Closed,
    Conflicted,
    CredentialsWritten,
    Current,
    DeletionFailed,
    ExpiryUnknown,
    ForeignSecret,
    Invalid,
    InvalidPolicy,
    LimitExceeded,
    LockedOut,
    MetadataAccepted,
    NoPods,
    NoPolicy,
    NoUsableKeys,
    NotPermitted,
    Overridden,
    Owned,
    PartiallyProgrammed,
    Pending,
    PossibleOrphan,
    Programmed,
    Progressing,
    Ready,
    Refused,
    Registered,
    RegistrationFailed,
    Rejected,
    ResolvedRefs,
    RotationFailed,
    TargetNotFound,
    TokenServiceUnavailable,
    Unmanaged,
    UnresolvedReference,
    UnsupportedField,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for ConditionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
