//! A client that cannot be managed any more, and what may be done about it. Pure.
//!
//! INVARIANT: a client that may be alive is given up only when an answer of ours was certainly lost with its token, or
//! when people say so by its client_id; and then it is reported.

use serde::{Deserialize, Serialize};

use crate::{Desired, Error, JournalEntry, ReconcileInput, Registration};

/// Why a client cannot be managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManagementFailure {
    /// What the server said.
    pub kind: ObstacleKind,
    /// What a probe at the token endpoint told.
    pub probe: Probe,
}

/// What the server said at the management address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ObstacleKind {
    /// 404 or 410.
    Missing,
    /// 401 with every token that we hold, and a newer one may have been lost with an answer.
    RotationLost,
    /// 401, and no answer was lost: the client is gone, or its token was revoked.
    TokenRefused,
    /// 405 or 501: this server does not manage clients.
    Unmanaged,
}

/// Whether the client is still alive: it is asked to authenticate at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The token endpoint knows the client.
    Alive,
    /// The token endpoint does not know it.
    Gone,
    /// Not asked yet.
    Unasked,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecoveryAction {
    /// Give the client up and report it.
    Abandon,
    /// It is gone; strike it out.
    Discard,
    /// Ask the token endpoint.
    Probe,
    /// Only people can say.
    Wait,
}

/// What may be done about the obstacle. `keep`: the client is wanted, so that one that is gone is registered anew, which
/// happens by itself once in a generation of the object.
pub(crate) fn way(
    desired: &Desired,
    occasion: &ReconcileInput<'_>,
    entry: &JournalEntry,
    obstacle: &ManagementFailure,
    keep: bool,
) -> RecoveryAction {
    let Some(registration) = &entry.registration else { return RecoveryAction::Wait };
    if occasion.consent == Some(registration.client_id.as_str()) {
        return RecoveryAction::Abandon;
    }
    let probe = can_probe(desired, entry, registration);
    let gone = if keep && entry.renewed_in == Some(desired.generation()) {
        RecoveryAction::Wait
    } else {
        RecoveryAction::Discard
    };
    match (obstacle.kind, obstacle.probe) {
        (ObstacleKind::Unmanaged, _) => RecoveryAction::Wait,
        (_, Probe::Unasked) if probe => RecoveryAction::Probe,
        (_, Probe::Gone) | (ObstacleKind::Missing, Probe::Unasked) => gone,
        (ObstacleKind::RotationLost, Probe::Alive | Probe::Unasked) => RecoveryAction::Abandon,
        (ObstacleKind::TokenRefused, Probe::Alive | Probe::Unasked) | (ObstacleKind::Missing, Probe::Alive) => {
            RecoveryAction::Wait
        }
    }
}

/// Whether the client's credentials are known well enough to ask the token endpoint with them.
pub(crate) fn can_probe(desired: &Desired, entry: &JournalEntry, registration: &Registration) -> bool {
    desired.token_endpoint().is_some() && crate::probe::method(desired, entry, registration).is_some()
}

/// Why nothing can be done, if nothing can.
pub(crate) fn hindrance(desired: &Desired, entry: &JournalEntry) -> Option<Error> {
    let registration = entry.registration.as_ref()?;
    let client_id = registration.client_id.clone();
    if let Some(home) = moved(desired, entry) {
        let (registered_at, wanted) = (home.to_owned(), desired.issuer().to_owned());
        return Some(Error::AnotherIssuer { client_id, registered_at, wanted });
    }
    let obstacle = entry.obstacle.as_ref()?;
    match obstacle.kind {
        ObstacleKind::Missing => Some(Error::Missing { client_id }),
        ObstacleKind::RotationLost => Some(Error::LockedOut { client_id, rotation_lost: true }),
        ObstacleKind::TokenRefused if obstacle.probe == Probe::Gone => Some(Error::Missing { client_id }),
        ObstacleKind::TokenRefused => Some(Error::LockedOut { client_id, rotation_lost: false }),
        ObstacleKind::Unmanaged => None,
    }
}

/// The issuer at which the client is, when that is another one than the wanted.
pub(crate) fn moved<'a>(desired: &Desired, entry: &'a JournalEntry) -> Option<&'a str> {
    let home = entry.home.as_ref()?;
    entry.registration.as_ref()?;
    (!desired.issuer().is_empty() && home.issuer != desired.issuer()).then_some(home.issuer.as_str())
}

/// Whether people agreed that the present client is given up.
pub(crate) fn consented(occasion: &ReconcileInput<'_>, registration: &Registration) -> bool {
    occasion.consent == Some(registration.client_id.as_str())
}

/// Whether RFC 7592 is of no use for this client.
pub(crate) fn is_unmanaged(desired: &Desired, entry: &JournalEntry, registration: &Registration) -> bool {
    registration.registration_access_token.is_none()
        || !registration.registration_client_uri.as_ref().is_some_and(|address| desired.endpoint().admits(address))
        || entry.obstacle.as_ref().is_some_and(|obstacle| obstacle.kind == ObstacleKind::Unmanaged)
}
