//! RFC 7592: read, update and delete.

use super::{
    Executed, Gone,
    held::Held,
    record::{Unstored, begin, in_doubt, record, withdraw},
};
use crate::{
    Desired, Error, Journal, JournalEntry, Keys, ManagementFailure, ObstacleKind, PossibleOrphan, ReconcileContext,
    ReconcileInput, Registration, Secret, Step, Transport, compare, management_failure::can_probe,
};

/// RFC 7592 sections 2.1 and 2.2.
pub(super) async fn describe<T: Transport, K: Keys, J: Journal>(
    step: Step,
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let ReconcileContext { occasion, transport, .. } = situation;
    let held = Held::of(step, desired, entry)?;
    let prior = begin(step, desired, entry, journal).await?;
    let doubt = in_doubt(prior.as_ref()) || was_lost(entry);

    let answer = match held.exchange(step, desired, entry, *transport).await {
        Ok((used, response)) => held.described(step, desired, &response, doubt).map(|answer| (used, answer)),
        Err(error) => Err(error),
    };
    let (used, answer) = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(withdraw(error, prior, entry, journal).await),
    };
    settle(step, desired, occasion, entry, held, used, answer);
    match record(entry, journal).await {
        Ok(()) if step == Step::Read => Ok(Executed::Read),
        Ok(()) => Ok(Executed::Updated),
        Err(Unstored { source, certainly: _ }) => Err(Error::Unrecorded { step, source, undone: false }),
    }
}

/// RFC 7592 section 2.3.
pub(super) async fn delete<T: Transport, K: Keys, J: Journal>(
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let held = Held::of(Step::Delete, desired, entry)?;
    let prior = begin(Step::Delete, desired, entry, journal).await?;
    let doubt = in_doubt(prior.as_ref()) || was_lost(entry);
    let asked_before = prior.as_ref().is_some_and(|intent| intent.step == Step::Delete);

    let answer = held.exchange(Step::Delete, desired, entry, situation.transport).await;
    let gone = answer.and_then(|(_, response)| match response.status().as_u16() {
        200..=299 => Ok(Gone::Confirmed),
        404 | 410 => Ok(Gone::NotFound),
        401 if !doubt && asked_before => Ok(Gone::NotFound),
        // A revoked token looks the same; who can ask, asks.
        401 if doubt || can_probe(desired, entry, &held.registration) => Err(held.locked_out(doubt)),
        401 => Ok(Gone::TokenRefused),
        _ => Err(held.failure(Step::Delete, &response)),
    });
    let gone = match gone {
        Ok(gone) => gone,
        Err(error) => return Err(withdraw(error, prior, entry, journal).await),
    };
    *entry = entry.clone().without_client();
    match record(entry, journal).await {
        Ok(()) => Ok(Executed::Deleted(gone)),
        Err(Unstored { source, certainly: _ }) => Err(Error::Unrecorded { step: Step::Delete, source, undone: false }),
    }
}

/// RFC 7592 section 2.3, for a client that was replaced: the one whose time was over first. One that cannot be deleted
/// becomes a possible orphan, for nothing but its end is wanted.
pub(super) async fn retire<T: Transport, K: Keys, J: Journal>(
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let Some(at) = (0..entry.retired.len()).min_by_key(|at| entry.retired.get(*at).map(|retired| retired.until)) else {
        return Ok(Executed::ReplacedClient);
    };
    let Some(retired) = entry.retired.get(at).cloned() else { return Ok(Executed::ReplacedClient) };
    let asked_before = entry.intent.as_ref().is_some_and(|intent| intent.step == Step::Retire);
    let gone = match Held::retired(desired, entry, &retired.registration) {
        Ok(held) => {
            let prior = begin(Step::Retire, desired, entry, journal).await?;
            let answer = held.exchange(Step::Retire, desired, entry, situation.transport).await;
            let gone = answer.and_then(|(_, response)| match response.status().as_u16() {
                200..=299 | 404 | 410 => Ok(true),
                401 => Ok(asked_before),
                _ => Err(held.failure(Step::Retire, &response)),
            });
            match gone {
                Ok(gone) => gone,
                Err(Error::Unmanageable { .. }) => false,
                Err(error) => return Err(withdraw(error, prior, entry, journal).await),
            }
        }
        Err(_unmanageable) => false,
    };
    entry.retired.remove(at);
    if !gone {
        let orphan = entry.possible_orphan.get_or_insert_with(|| PossibleOrphan::new(desired.marker().clone()));
        orphan.abandoned.push(retired.registration.client_id);
    }
    entry.intent = None;
    match record(entry, journal).await {
        Ok(()) => Ok(Executed::ReplacedClient),
        Err(Unstored { source, certainly: _ }) => Err(Error::Unrecorded { step: Step::Retire, source, undone: false }),
    }
}

/// Whether an earlier run found that a token was lost.
fn was_lost(entry: &JournalEntry) -> bool {
    matches!(entry.obstacle, Some(ManagementFailure { kind: ObstacleKind::RotationLost, .. }))
}

/// Takes an answer over: secrets at once, the old token as the previous one until the new one worked.
fn settle(
    step: Step,
    desired: &Desired,
    occasion: &ReconcileInput<'_>,
    entry: &mut JournalEntry,
    held: Held,
    used: Secret,
    mut answer: Registration,
) {
    let Held { mut registration, .. } = held;
    let before = compare(desired, entry, &registration.reported);
    let document = desired.document_with(entry);
    let edited = entry.last_sent.as_ref() != Some(&document);
    let issued = answer.registration_access_token.take().filter(|issued| *issued != used);
    let secret = registration.client_secret.clone();
    registration.absorb(answer);
    (registration.registration_access_token, entry.previous_token) = match issued {
        Some(issued) => (Some(issued), Some(used)),
        None => (Some(used), None),
    };
    if registration.client_secret != secret {
        entry.credentials_since = Some(occasion.now);
    }
    let now = compare(desired, entry, &registration.reported);
    if step == Step::Read {
        entry.known_drift.retain(|known| now.contains(known));
    } else {
        // Drift that this update was to cure is known from now on: if the next read shows it again, the update did not
        // help and another will not. A read without it forgets it.
        let cured = if edited { Vec::new() } else { before };
        entry.known_drift = now;
        let unseen: Vec<_> = cured.into_iter().filter(|drift| !entry.known_drift.contains(drift)).collect();
        entry.known_drift.extend(unseen);
        publish_keys(desired, occasion, entry);
        entry.last_sent = Some(document);
    }
    entry.registration = Some(registration);
    entry.intent = None;
    entry.obstacle = None;
}

/// From the moment when the server knows a new key, the older ones are on their way out.
fn publish_keys(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &mut JournalEntry) {
    let newest = entry.keys.first().map(|key| key.kid.clone());
    let known = entry.present_key().map(|key| key.kid.clone());
    if desired.key_purpose().is_none() || newest == known {
        return;
    }
    let until = occasion.now.saturating_add(desired.rotation().overlap);
    for key in entry.keys.iter_mut().skip(1).filter(|key| key.until.is_none()) {
        key.until = Some(until);
    }
    entry.credentials_since = Some(occasion.now);
    entry.fulfilled_request = occasion.rotation_request.map(str::to_owned);
}
