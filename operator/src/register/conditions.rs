//! How a registration stands, in conditions and facts. Pure. Of a server's text only OAuth error codes get into
//! conditions; its own explanation stands apart in `lastError`, where nobody takes it for ours.

use portreeve_compiler::{Access, Condition, ConditionStatus, ResolvedRegistration};
use portreeve_crds::{
    ConditionReason, ConditionType,
    v1alpha1::{AccessVerdict, ServerErrorStatus},
};
use portreeve_registration::{
    AnswerFault, DriftKind, Error, JournalEntry, PossibleOrphan, Registered, Retry, SecretExpiry, ServerError,
};

use super::report::{RegistrationFacts, RegistrationReport};
use crate::clock::rfc3339;

/// The annotation by which people give a client up, with its client_id as value.
pub(super) const ABANDON: &str = "portreeve.dev/abandon-client";

/// The annotation by which people let a client be brought to what is granted now, with its client_id as value.
pub(super) const ACCEPT: &str = "portreeve.dev/accept-access";

/// The annotation by which people ask for new credentials; any new value does.
pub(super) const ROTATE: &str = "portreeve.dev/rotate";

/// The client is registered and its credentials are written. `holders`: pods that still run with the credentials before.
pub(super) fn registered(
    generation: u64,
    client: &Registered,
    access: &Access,
    secret: &str,
    holders: &[String],
) -> RegistrationReport {
    use ConditionReason as R;
    use ConditionType as T;
    let honoured = if client.drift.is_empty() {
        condition(T::MetadataAccepted, ConditionStatus::True, R::MetadataAccepted, "")
    } else {
        condition(T::MetadataAccepted, ConditionStatus::False, R::ChangedByServer, &drift_message(client))
    };
    let relative = client.faults.contains(&AnswerFault::RelativeManagementUri);
    let cause = if relative {
        "the token service's registration_client_uri is relative, and RFC 7592 section 3 wants it whole"
    } else {
        "the token service does not manage clients (RFC 7592)"
    };
    let unmanaged = format!("{cause}: edits need a new client and consent, and deletion is for people");
    let standing = match &client.possible_orphan {
        Some(orphan) => condition(T::Registered, ConditionStatus::True, R::PossibleOrphan, &orphan_message(orphan)),
        None if client.unmanaged => condition(T::Registered, ConditionStatus::True, R::Unmanaged, &unmanaged),
        None => condition(T::Registered, ConditionStatus::True, R::Registered, ""),
    };
    let unknown_expiry = client.faults.contains(&AnswerFault::Malformed("client_secret_expires_at".to_owned()));
    let current = match &client.hindered {
        None if unknown_expiry => condition(
            T::CredentialsCurrent,
            ConditionStatus::Unknown,
            R::ExpiryUnknown,
            "the token service said when the secret ends, but not as a number of seconds; it is not renewed in time \
             unless rotation.interval is set",
        ),
        Some(error) => condition(T::CredentialsCurrent, ConditionStatus::True, R::RotationFailed, &hindrance(error)),
        None => {
            condition(T::CredentialsCurrent, ConditionStatus::True, R::CredentialsWritten, &written(secret, holders))
        }
    };
    let conditions = vec![standing, current, honoured, condition(T::Ready, ConditionStatus::True, R::Ready, "")];
    let mut facts = identified(client);
    facts.last_error = client.hindered.as_ref().and_then(server_error);
    with_access(RegistrationReport { generation, conditions, facts }, access)
}

/// The client stays as it is, though scopes of it are not granted any more.
pub(super) fn keeping(mut report: RegistrationReport, access: &Access, kept: &[String]) -> RegistrationReport {
    let Some(client_id) = report.facts.client_id.clone().filter(|_| !kept.is_empty()) else { return report };
    let why = |scope: &String| match access.refused.get(scope) {
        Some(why) => format!("{scope} ({why})"),
        None => scope.clone(),
    };
    let message = format!(
        "the client keeps scopes that are not granted any more: {}; nothing is taken from it until this object asks for \
         something else, or is annotated with {ACCEPT}: {client_id}",
        kept.iter().map(why).collect::<Vec<_>>().join(", ")
    );
    report.conditions.retain(|condition| condition.kind != ConditionType::AccessGranted);
    let pending =
        condition(ConditionType::AccessGranted, ConditionStatus::False, ConditionReason::AccessPending, &message);
    report.conditions.insert(0, pending);
    report
}

fn written(secret: &str, holders: &[String]) -> String {
    if holders.is_empty() {
        return format!("in Secret {secret}");
    }
    let shown: Vec<_> = holders.iter().take(5).map(String::as_str).collect();
    let more = holders.len().saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "in Secret {secret}; the credentials before are kept, for pods started with them still run: {}{more}",
        shown.join(", ")
    )
}

fn drift_message(client: &Registered) -> String {
    let named = client.drift.iter().map(|drift| match drift.kind {
        DriftKind::Changed(_) => format!("{} changed", drift.member),
        DriftKind::Dropped => format!("{} dropped", drift.member),
    });
    let named: Vec<_> = named.collect();
    format!("the token service holds other metadata than was asked for: {}", named.join(", "))
}

fn hindrance(error: &Error) -> String {
    let (_, message) = explain(error, "");
    format!("the credentials are good, but something could not be done: {message}")
}

/// The client is registered, but its credentials could not be written.
pub(super) fn unwritten(generation: u64, client: &Registered, access: &Access, fault: &str) -> RegistrationReport {
    use ConditionType as T;
    let failed = |kind| condition(kind, ConditionStatus::False, ConditionReason::RegistrationFailed, fault);
    let registered = condition(T::Registered, ConditionStatus::True, ConditionReason::Registered, "");
    let conditions = vec![registered, failed(T::CredentialsCurrent), failed(T::Ready)];
    with_access(RegistrationReport { generation, conditions, facts: identified(client) }, access)
}

/// A Secret of that name belongs to somebody else.
pub(super) fn foreign(generation: u64, message: &str) -> RegistrationReport {
    use ConditionStatus::{False, True};
    let reason = ConditionReason::ForeignSecret;
    let conditions = vec![
        condition(ConditionType::CredentialsCurrent, False, reason, message),
        condition(ConditionType::Ready, False, reason, message),
        condition(ConditionType::Stalled, True, reason, message),
    ];
    RegistrationReport { generation, conditions, facts: RegistrationFacts::default() }
}

/// No scope that was asked for may be had, so there is no client.
pub(super) fn withheld(generation: u64, access: &Access) -> RegistrationReport {
    let why = |(scope, why): (&String, &String)| format!("{scope}: {why}");
    let refused: Vec<_> = access.refused.iter().map(why).collect();
    let message = format!(
        "none of the scopes is granted, and a client without scopes could get all; {}",
        if refused.is_empty() { "see status.access".to_owned() } else { refused.join("; ") }
    );
    let denied = !access.states.is_empty() && access.states.iter().all(|state| state.state == AccessVerdict::Denied);
    let reason = if denied { ConditionReason::AccessDenied } else { ConditionReason::AccessPending };
    with_access(failure(generation, reason, &message, false), access)
}

/// The object cannot be asked for.
pub(super) fn invalid(generation: u64, message: &str) -> RegistrationReport {
    failure(generation, ConditionReason::Invalid, message, true)
}

/// Something of ours failed, and is tried again.
pub(super) fn hindered(generation: u64, message: &str) -> RegistrationReport {
    failure(generation, ConditionReason::RegistrationFailed, message, false)
}

/// The client of an object that is being deleted could not be deleted; `stalled` when it was tried often enough.
pub(super) fn undeleted(generation: u64, message: &str, stalled: bool) -> RegistrationReport {
    failure(generation, ConditionReason::DeletionFailed, message, stalled)
}

/// The run ended with an error.
pub(super) fn failed(
    generation: u64,
    error: &Error,
    entry: &JournalEntry,
    target: &ResolvedRegistration,
) -> RegistrationReport {
    let (reason, message) = explain(error, &target.initial_access_token_place);
    let mut report = failure(generation, reason, &message, error.retry() == Retry::Never);
    report.facts = remembered(entry);
    report.facts.last_error = server_error(error);
    with_access(report, &target.access)
}

fn failure(generation: u64, reason: ConditionReason, message: &str, stalled: bool) -> RegistrationReport {
    let mut conditions = vec![
        condition(ConditionType::Registered, ConditionStatus::False, reason, message),
        condition(ConditionType::Ready, ConditionStatus::False, reason, message),
    ];
    if stalled {
        conditions.push(condition(ConditionType::Stalled, ConditionStatus::True, reason, message));
    }
    RegistrationReport { generation, conditions, facts: RegistrationFacts::default() }
}

fn with_access(mut report: RegistrationReport, access: &Access) -> RegistrationReport {
    use AccessVerdict::{Denied, Granted, PartlyGranted, Pending};
    report.facts.access.clone_from(&access.states);
    let waiting: Vec<_> = access.states.iter().filter(|state| state.state != Granted).collect();
    let named = |state: &&portreeve_crds::v1alpha1::AccessState| format!("{}: {}", state.api, state.message);
    let message = waiting.iter().map(named).collect::<Vec<_>>().join("; ");
    let (status, reason) = match waiting.iter().map(|state| state.state).min() {
        None if access.states.is_empty() => return report,
        None => (ConditionStatus::True, ConditionReason::AccessGranted),
        Some(Pending) => (ConditionStatus::False, ConditionReason::AccessPending),
        Some(Denied | Granted | PartlyGranted) => (ConditionStatus::False, ConditionReason::AccessDenied),
    };
    report.conditions.insert(0, condition(ConditionType::AccessGranted, status, reason, &message));
    report
}

#[expect(clippy::too_many_lines, reason = "a table: one arm for each error")]
fn explain(error: &Error, token_place: &str) -> (ConditionReason, String) {
    use ConditionReason as R;
    let agree = |client_id: &str| format!("annotate the object with {ABANDON}: {client_id}");
    let code = |server: &Option<ServerError>| {
        let code = server.as_ref().map(|server| server.error.as_str());
        let plain = |code: &&str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        code.filter(plain).map_or(String::new(), |code| format!(": {code}"))
    };
    match error {
        Error::Busy { .. } | Error::ProbeUnclear { .. } | Error::Unavailable { .. } => {
            (R::TokenServiceUnavailable, format!("{error}; trying again"))
        }
        Error::Transport(source) => (R::TokenServiceUnavailable, format!("{error}: {source}; trying again")),
        Error::InitialTokenRefused { status, server } if token_place.is_empty() => (
            R::Refused,
            format!(
                "the token service wants an initial access token ({status}{}); name the Secret that holds one in \
                 spec.registration.initialAccessTokenRef of the TokenService",
                code(server)
            ),
        ),
        Error::InitialTokenRefused { status, server } => (
            R::Refused,
            format!(
                "the token service refused the initial access token ({status}{}); it is wrong, used up or expired: put \
                 a valid one into {token_place}",
                code(server)
            ),
        ),
        Error::Refused { step, status, server } => (
            R::Refused,
            format!("the token service refused to {step} the client ({status}{}); correct spec.metadata", code(server)),
        ),
        Error::LockedOut { client_id, .. } => (
            R::LockedOut,
            format!(
                "{error}, and the client is alive; look at it there. To give it up and register a new one, {}",
                agree(client_id)
            ),
        ),
        Error::Missing { client_id } => (
            R::RegistrationFailed,
            format!("{error}, again; somebody deletes it there. To register a new one, {}", agree(client_id)),
        ),
        Error::AnotherIssuer { client_id, .. } => (
            R::AnotherIssuer,
            format!("{error}; to give it up there and register a new one here, {}", agree(client_id)),
        ),
        Error::Unmanageable { .. } => (
            R::Unmanaged,
            format!(
                "{error}; to register a new client with this object's client_id given up, annotate it with {ABANDON}"
            ),
        ),
        Error::Journal(source) | Error::Unrecorded { source, .. } => {
            (R::RegistrationFailed, format!("{error}: {source}"))
        }
        Error::ForeignOrigin { .. }
        | Error::InvalidAnswer { .. }
        | Error::Key(_)
        | Error::Unsendable(_)
        | Error::Unsettled => (R::RegistrationFailed, error.to_string()),
    }
}

fn server_error(error: &Error) -> Option<ServerErrorStatus> {
    let (Error::InitialTokenRefused { server, .. } | Error::Refused { server, .. }) = error else { return None };
    let ServerError { error, description } = server.clone()?;
    Some(ServerErrorStatus { error, error_description: description })
}

/// What may be left at the token service, for people to look for.
pub(super) fn orphan_message(orphan: &PossibleOrphan) -> String {
    let PossibleOrphan { marker, unanswered_creates, abandoned } = orphan;
    let mut parts = Vec::new();
    if *unanswered_creates > 0 {
        let software_id = &marker.software_id;
        parts.push(format!("{unanswered_creates} without a known client_id (software_id {software_id})"));
    }
    if !abandoned.is_empty() {
        parts.push(abandoned.join(", "));
    }
    format!(
        "other clients of this object may be left at the token service: {}; look for them there and delete them",
        parts.join("; ")
    )
}

fn identified(client: &Registered) -> RegistrationFacts {
    RegistrationFacts {
        client_id: Some(client.client_id.clone()),
        issued_at: client.client_id_issued_at.map(rfc3339),
        secret_expires_at: client.client_secret_expires_at.and_then(expiry),
        last_rotation: client.credentials_since.map(rfc3339),
        next_rotation: client.next_rotation.map(rfc3339),
        old_credentials_until: client.old_until.map(rfc3339),
        last_error: None,
        access: Vec::new(),
    }
}

fn remembered(entry: &JournalEntry) -> RegistrationFacts {
    let Some(own) = &entry.registration else { return RegistrationFacts::default() };
    RegistrationFacts {
        client_id: Some(own.client_id.clone()),
        issued_at: own.client_id_issued_at.map(rfc3339),
        secret_expires_at: own.client_secret_expires_at.and_then(expiry),
        last_rotation: entry.credentials_since.map(rfc3339),
        ..RegistrationFacts::default()
    }
}

fn expiry(expiry: SecretExpiry) -> Option<String> {
    match expiry {
        SecretExpiry::At(seconds) => Some(rfc3339(seconds)),
        SecretExpiry::Never => None,
    }
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: ConditionReason, message: &str) -> Condition {
    Condition { kind, status, reason, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use portreeve_compiler::ResolvedRotation;
    use portreeve_registration::Step;

    use super::*;

    fn target() -> ResolvedRegistration {
        ResolvedRegistration {
            token_service: "shop/login".parse().unwrap(),
            issuer: String::new(),
            registration_endpoint: String::new(),
            token_endpoint: None,
            initial_access_token: None,
            initial_access_token_place: "Secret id/dcr key \"token\"".to_owned(),
            ca_certificates: String::new(),
            software_statement: None,
            rotation: ResolvedRotation { interval: None, overlap: 1 },
            access: Access::default(),
        }
    }

    #[test]
    fn servers_get_no_say_in_our_words_but_for_codes() {
        for (code, shown) in [("invalid_client_metadata", true), ("see http://evil.test", false), ("", false)] {
            let server = Some(ServerError { error: code.to_owned(), description: "c4n4ry".to_owned() });
            let error = Error::Refused { step: Step::Create, status: StatusCode::BAD_REQUEST, server };
            let report = failed(1, &error, &JournalEntry::default(), &target());
            let message = &report.conditions[0].message;
            assert_eq!(message.contains(&format!(": {code})")) && !code.is_empty(), shown, "{message}");
            assert!(!message.contains("c4n4ry") && !message.contains("evil"), "{message}");
            assert!(report.conditions.iter().any(|c| c.kind == ConditionType::Stalled));
            assert_eq!(report.facts.last_error.unwrap().error_description, "c4n4ry");
        }
    }

    #[test]
    fn what_passes_by_itself_is_not_stalled() {
        let error = Error::Unavailable { status: StatusCode::BAD_GATEWAY };
        let report = failed(1, &error, &JournalEntry::default(), &target());
        assert!(report.conditions.iter().all(|c| c.kind != ConditionType::Stalled));
        assert_eq!(report.conditions[0].reason, ConditionReason::TokenServiceUnavailable);
    }

    #[test]
    fn a_refused_initial_access_token_is_named_by_its_secret_and_key() {
        let error = Error::InitialTokenRefused { status: StatusCode::UNAUTHORIZED, server: None };
        let report = failed(1, &error, &JournalEntry::default(), &target());
        assert!(report.conditions[0].message.contains("Secret id/dcr key \"token\""));
    }
}
