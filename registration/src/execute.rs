//! Carries one step out: intent into the journal, call, result into the journal.
//!
//! ```text
//!   store(intent) ──▶ send ──▶ store(result, no intent) ──▶ next step
//!        │crash         │crash          │crash
//!        ▼              ▼               ▼
//!   nothing was    create: possible orphan, reported with its marker, and a new create
//!   sent; the      read, update: the new registration token may be lost; the call is made again with the
//!   step again     present token, then the previous one, then the client is probed: see `ManagementFailure`
//!                  delete: asked again; 401 and 404 now mean gone
//! ```
//!
//! A call that certainly did nothing (not sent, 4xx) takes its intent out of the journal again, so that no false alarm
//! stays. One `store` writes the new registration token, the secret and the metadata together, before anything else is
//! done with the answer.

mod create;
mod held;
mod manage;
mod record;
#[cfg(test)]
mod tests;

use crate::{
    Desired, Error, Journal, JournalEntry, KeyFault, Keys, ManagementFailure, ObstacleKind, Probe, ReconcileContext,
    Step, Transport, probe,
};

/// How we know that the client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It may be alive, but could not be managed any more; it is among the possible orphans.
    Abandoned,
    /// There was nothing to delete.
    Absent,
    /// The server said so (2xx).
    Confirmed,
    /// 404 or 410; or 401 after an earlier delete of ours that had no answer.
    NotFound,
    /// 401 or 404, and the token endpoint does not know the client either.
    Probed,
    /// 401 to the first delete, with a token that no lost answer can have replaced, of a client that cannot be probed.
    /// The server no longer knows it or has revoked the token (RFC 7592 section 2.3); worth an Event.
    TokenRefused,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// A client was created.
    Created,
    /// The client is gone.
    Deleted(Gone),
    /// The journal is empty.
    Forgotten,
    /// A key was made.
    KeyAdded,
    /// Keys were dropped.
    KeysDropped,
    /// The token endpoint told whether the client is alive.
    Probed(Probe),
    /// The client was read.
    Read,
    /// A second client took over.
    Replaced,
    /// A client that was replaced is gone, or is among the possible orphans.
    ReplacedClient,
    /// The client was updated.
    Updated,
}

/// Carries `step` out and leaves `entry` as it is in the journal. After an error that is not about the client itself
/// (`LockedOut`, `Missing`) the entry is to be loaded again.
///
/// Errors: everything of [`Error`] but `Unsettled`. A step that needs a client and finds none is refused as
/// [`Error::Unmanageable`].
pub async fn execute<T: Transport, K: Keys, J: Journal>(
    step: Step,
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    match step {
        Step::Abandon => {
            let next = entry.clone().abandon(desired.marker());
            replace(entry, next, journal).await?;
            Ok(Executed::Deleted(Gone::Abandoned))
        }
        Step::AddKey => add_key(desired, situation.keys, entry, journal).await,
        Step::Create | Step::Replace => create::create(step, desired, situation, entry, journal).await,
        Step::Delete => manage::delete(desired, situation, entry, journal).await,
        Step::Discard => {
            let next = JournalEntry {
                possible_orphan: entry.suspected(),
                renewed_in: Some(desired.generation()),
                ..entry.clone().without_client()
            };
            replace(entry, next, journal).await?;
            Ok(Executed::Deleted(Gone::Probed))
        }
        Step::DropKeys => {
            let mut next = entry.clone();
            next.keys.retain(|key| key.until.is_none());
            replace(entry, next, journal).await?;
            Ok(Executed::KeysDropped)
        }
        Step::Forget => {
            journal.clear().await?;
            *entry = JournalEntry::default();
            Ok(Executed::Forgotten)
        }
        Step::Probe => ask(desired, situation, entry, journal).await,
        Step::Read | Step::Update => manage::describe(step, desired, situation, entry, journal).await,
        Step::Retire => manage::retire(desired, situation, entry, journal).await,
    }
}

/// A change that no server is told of.
async fn replace<J: Journal>(entry: &mut JournalEntry, next: JournalEntry, journal: &mut J) -> Result<(), Error> {
    journal.store(&next).await?;
    *entry = next;
    Ok(())
}

/// A key is in the journal before any server hears of it.
async fn add_key<K: Keys, J: Journal>(
    desired: &Desired,
    keys: &K,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let Some(purpose) = desired.key_purpose() else {
        return Err(KeyFault("no key of the client's own is wanted".to_owned()).into());
    };
    let key = keys.make(purpose)?;
    let mut next = entry.clone();
    // A key that the server was never told of is of no use to anybody.
    let published = |kid: &str| next.last_sent.as_ref().is_some_and(|sent| crate::keys::is_in(sent, kid));
    let held = next.keys.iter().filter(|held| published(&held.kid)).cloned();
    next.keys = std::iter::once(key).chain(held).collect();
    replace(entry, next, journal).await?;
    Ok(Executed::KeyAdded)
}

/// Asks the token endpoint about the client. The journal needs no intent: nothing is changed at the server.
async fn ask<T: Transport, K: Keys, J: Journal>(
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let client_id = entry.registration.as_ref().map(|own| own.client_id.clone()).unwrap_or_default();
    let unclear = || Error::ProbeUnclear { client_id: client_id.clone() };
    let request = probe::request(desired, entry, situation.keys)?.ok_or_else(unclear)?;
    let response = situation.transport.send(request).await?;
    let told = probe::verdict(&response).ok_or_else(unclear)?;
    let kind = entry.obstacle.as_ref().map_or(ObstacleKind::TokenRefused, |obstacle| obstacle.kind);
    let next = JournalEntry { obstacle: Some(ManagementFailure { kind, probe: told }), ..entry.clone() };
    replace(entry, next, journal).await?;
    Ok(Executed::Probed(told))
}
