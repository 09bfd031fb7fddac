//! How a registration stands, in conditions. Pure. Nothing of a server's text but OAuth error codes gets in.

use portreeve_compiler::{Condition, ConditionStatus};
use portreeve_crds::{ConditionReason, ConditionType};
use portreeve_registration::{DriftKind, Error, PossibleOrphan, Registered, Retry, SecretExpiry, ServerError};

use super::report::RegistrationReport;
use crate::clock::rfc3339;

/// The client is registered and its credentials are written.
pub(super) fn registered(generation: u64, client: &Registered, secret: &str) -> RegistrationReport {
    use ConditionReason as R;
    use ConditionType as T;
    let orphan = client.possible_orphan.as_ref().map(orphan_message);
    let drift: Vec<_> = client
        .drift
        .iter()
        .map(|drift| match drift.kind {
            DriftKind::Changed(_) => format!("{} changed", drift.member),
            DriftKind::Dropped => format!("{} dropped", drift.member),
        })
        .collect();
    let honoured = if drift.is_empty() {
        condition(T::MetadataHonoured, ConditionStatus::True, R::Honoured, "")
    } else {
        let message = format!("the token service holds other metadata than was asked for: {}", drift.join(", "));
        condition(T::MetadataHonoured, ConditionStatus::False, R::ChangedByServer, &message)
    };
    let conditions = vec![
        match &orphan {
            None => condition(T::Registered, ConditionStatus::True, R::Registered, ""),
            Some(message) => condition(T::Registered, ConditionStatus::True, R::PossibleOrphan, message),
        },
        condition(T::CredentialsCurrent, ConditionStatus::True, R::CredentialsWritten, &format!("in Secret {secret}")),
        honoured,
        condition(T::Ready, ConditionStatus::True, R::Ready, ""),
    ];
    RegistrationReport { conditions, ..identified(generation, client) }
}

/// The client is registered, but its credentials could not be written.
pub(super) fn unwritten(generation: u64, client: &Registered, fault: &str) -> RegistrationReport {
    use ConditionType as T;
    let failed = |kind| condition(kind, ConditionStatus::False, ConditionReason::RegistrationFailed, fault);
    let registered = condition(T::Registered, ConditionStatus::True, ConditionReason::Registered, "");
    let conditions = vec![registered, failed(T::CredentialsCurrent), failed(T::Ready)];
    RegistrationReport { conditions, ..identified(generation, client) }
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
    RegistrationReport { conditions, ..nobody(generation) }
}

/// The object cannot be asked for.
pub(super) fn invalid(generation: u64, message: &str) -> RegistrationReport {
    failure(generation, ConditionReason::Invalid, message, true)
}

/// Something of ours failed, and is tried again.
pub(super) fn hindered(generation: u64, message: &str) -> RegistrationReport {
    failure(generation, ConditionReason::RegistrationFailed, message, false)
}

/// The run ended with an error.
pub(super) fn failed(generation: u64, error: &Error) -> RegistrationReport {
    let (reason, message) = explain(error);
    failure(generation, reason, &message, error.retry() == Retry::Never)
}

fn failure(generation: u64, reason: ConditionReason, message: &str, stalled: bool) -> RegistrationReport {
    let mut conditions = vec![
        condition(ConditionType::Registered, ConditionStatus::False, reason, message),
        condition(ConditionType::Ready, ConditionStatus::False, reason, message),
    ];
    if stalled {
        conditions.push(condition(ConditionType::Stalled, ConditionStatus::True, reason, message));
    }
    RegistrationReport { conditions, ..nobody(generation) }
}

fn explain(error: &Error) -> (ConditionReason, String) {
    use ConditionReason as R;
    let code = |server: &Option<ServerError>| {
        let code = server.as_ref().map(|server| server.error.as_str());
        let plain = |code: &&str| !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        code.filter(plain).map_or(String::new(), |code| format!(": {code}"))
    };
    match error {
        Error::Busy { .. } | Error::Unavailable { .. } => {
            (R::TokenServiceUnavailable, format!("{error}; trying again"))
        }
        Error::Transport(source) => (R::TokenServiceUnavailable, format!("{error}: {source}; trying again")),
        Error::InitialTokenRefused { status, server } => (
            R::Refused,
            format!(
                "the token service refused the initial access token ({status}{}); put a valid one into the Secret that \
                 spec.registration.initialAccessTokenRef of the TokenService names",
                code(server)
            ),
        ),
        Error::Refused { step, status, server } => (
            R::Refused,
            format!("the token service refused to {step} the client ({status}{}); correct spec.metadata", code(server)),
        ),
        Error::LockedOut { .. } => {
            (R::LockedOut, format!("{error}; look at the client there, then delete this object and create it again"))
        }
        Error::Missing { .. } => {
            (R::RegistrationFailed, format!("{error}; delete this object and create it again to register anew"))
        }
        Error::Journal(source) | Error::Unrecorded { source, .. } => {
            (R::RegistrationFailed, format!("{error}: {source}"))
        }
        Error::ForeignOrigin { .. }
        | Error::InvalidAnswer { .. }
        | Error::Unmanageable { .. }
        | Error::Unsendable(_)
        | Error::Unsettled => (R::RegistrationFailed, error.to_string()),
    }
}

fn orphan_message(orphan: &PossibleOrphan) -> String {
    let PossibleOrphan { marker, unanswered_creates, abandoned } = orphan;
    format!(
        "{} other clients with software_id {} may be left at the token service; look for them there and delete them",
        usize::try_from(*unanswered_creates).unwrap_or(usize::MAX).saturating_add(abandoned.len()),
        marker.software_id
    )
}

fn identified(generation: u64, client: &Registered) -> RegistrationReport {
    let expires = client.client_secret_expires_at.and_then(|expiry| match expiry {
        SecretExpiry::At(seconds) => Some(rfc3339(seconds)),
        SecretExpiry::Never => None,
    });
    RegistrationReport {
        generation,
        conditions: Vec::new(),
        client_id: Some(client.client_id.clone()),
        issued_at: client.client_id_issued_at.map(rfc3339),
        secret_expires_at: expires,
    }
}

fn nobody(generation: u64) -> RegistrationReport {
    RegistrationReport { generation, conditions: Vec::new(), client_id: None, issued_at: None, secret_expires_at: None }
}

fn condition(kind: ConditionType, status: ConditionStatus, reason: ConditionReason, message: &str) -> Condition {
    Condition { kind, status, reason, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use portreeve_registration::Step;

    use super::*;

    #[test]
    fn servers_get_no_say_in_our_words_but_for_codes() {
        for (code, shown) in [("invalid_client_metadata", true), ("see http://evil.test", false), ("", false)] {
            let server = Some(ServerError { error: code.to_owned(), description: "c4n4ry".to_owned() });
            let error = Error::Refused { step: Step::Create, status: StatusCode::BAD_REQUEST, server };
            let report = failed(1, &error);
            let message = &report.conditions[0].message;
            assert_eq!(message.contains(&format!(": {code})")) && !code.is_empty(), shown, "{message}");
            assert!(!message.contains("c4n4ry") && !message.contains("evil"), "{message}");
            assert!(report.conditions.iter().any(|c| c.kind == ConditionType::Stalled));
        }
    }

    #[test]
    fn what_passes_by_itself_is_not_stalled() {
        let report = failed(1, &Error::Unavailable { status: StatusCode::BAD_GATEWAY });
        assert!(report.conditions.iter().all(|c| c.kind != ConditionType::Stalled));
        assert_eq!(report.conditions[0].reason, ConditionReason::TokenServiceUnavailable);
    }
}
