//! The two stores around a call.

use crate::{
    Desired, Error, Intent, Journal, JournalEntry, JournalError, JournalFault, ManagementFailure, ObstacleKind, Probe,
    Step,
};

/// How often a result is offered to a journal that does not answer.
const STORE_ATTEMPTS: usize = 3;

/// Whether a read or an update without a recorded answer may have replaced our token.
pub(super) fn in_doubt(intent: Option<&Intent>) -> bool {
    intent.is_some_and(|intent| intent.token_in_doubt || matches!(intent.step, Step::Read | Step::Update))
}

/// Stores the intent. An earlier create without a recorded answer becomes a possible orphan here. Returns the intent that
/// is to be put back, should the call certainly do nothing.
pub(super) async fn begin<J: Journal>(
    step: Step,
    desired: &Desired,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Option<Intent>, Error> {
    entry.possible_orphan = entry.suspected();
    let prior = entry.intent.take().filter(|intent| !intent.step.makes_a_client());
    entry.intent = Some(Intent {
        step,
        marker: desired.marker().clone(),
        generation: desired.generation(),
        token_in_doubt: in_doubt(prior.as_ref()),
    });
    journal.store(entry).await?;
    Ok(prior)
}

/// Takes the intent back when the server certainly did nothing, and notes why the client cannot be managed, if that is
/// what the server said. Should the journal fail, the intent stays, which is no more than a false alarm; the first error
/// is the one that is told.
pub(super) async fn withdraw<J: Journal>(
    error: Error,
    prior: Option<Intent>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Error {
    if error.may_have_acted() {
        return error;
    }
    let mut next = JournalEntry { intent: prior, ..entry.clone() };
    if let Some(kind) = obstacle(&error) {
        // The doubt about the token is in the obstacle from now on.
        next.intent = None;
        let same = next.obstacle.as_ref().is_some_and(|held| held.kind == kind);
        if !same {
            next.obstacle = Some(ManagementFailure { kind, probe: Probe::Unasked });
        }
    }
    match journal.store(&next).await {
        Ok(()) => {
            *entry = next;
            error
        }
        // What is not remembered was not found out: the caller must not act on it.
        Err(fault) if obstacle(&error).is_some() => fault.into(),
        Err(_false_alarm_at_worst) => error,
    }
}

fn obstacle(error: &Error) -> Option<ObstacleKind> {
    match error {
        Error::LockedOut { rotation_lost: true, .. } => Some(ObstacleKind::RotationLost),
        Error::LockedOut { rotation_lost: false, .. } => Some(ObstacleKind::TokenRefused),
        Error::Missing { .. } => Some(ObstacleKind::Missing),
        Error::Unmanageable { reason: crate::Unmanageable::NotSupported, step } if !step.makes_a_client() => {
            Some(ObstacleKind::Unmanaged)
        }
        Error::AnotherIssuer { .. }
        | Error::Busy { .. }
        | Error::ForeignOrigin { .. }
        | Error::InitialTokenRefused { .. }
        | Error::InvalidAnswer { .. }
        | Error::Journal(_)
        | Error::Key(_)
        | Error::ProbeUnclear { .. }
        | Error::Refused { .. }
        | Error::Transport(_)
        | Error::Unavailable { .. }
        | Error::Unmanageable { .. }
        | Error::Unrecorded { .. }
        | Error::Unsendable(_)
        | Error::Unsettled => None,
    }
}

/// A result that the journal did not take; `certainly` if no attempt can have taken effect.
pub(super) struct Unstored {
    pub(super) source: JournalError,
    pub(super) certainly: bool,
}

/// Offers a result to the journal, a few times if it does not answer: this is all that remembers a new token.
pub(super) async fn record<J: Journal>(entry: &JournalEntry, journal: &mut J) -> Result<(), Unstored> {
    let mut certainly = true;
    let mut attempt = 1;
    loop {
        let Err(source) = journal.store(entry).await else { return Ok(()) };
        let silent = source.fault() == JournalFault::Unavailable;
        certainly &= !silent;
        if !silent || attempt == STORE_ATTEMPTS {
            return Err(Unstored { source, certainly });
        }
        attempt += 1;
    }
}
