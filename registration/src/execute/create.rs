//! RFC 7591 section 3: a client, or a second one that takes over.

use super::{
    Executed,
    held::Held,
    record::{Unstored, begin, record, withdraw},
};
use crate::{
    Desired, Error, Journal, JournalEntry, Keys, ReconcileContext, ReconcileInput, RegistrationOrigin, ReplacedClient,
    Secret, Step, Transport,
    client::{create_request, described},
    compare,
};

pub(super) async fn create<T: Transport, K: Keys, J: Journal>(
    step: Step,
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<Executed, Error> {
    let ReconcileContext { occasion, transport, .. } = situation;
    let initial = occasion.initial_access_token;
    let document = desired.document_with(entry);
    let request = create_request(desired, &document, initial)?;
    let prior = begin(step, desired, entry, journal).await?;

    let secrets: Vec<&Secret> = initial.into_iter().collect();
    let answer = match transport.send(request).await {
        Ok(response) => described(step, &response, desired.endpoint(), None, &secrets),
        Err(error) => Err(error.into()),
    };
    let registration = match answer {
        Ok(registration) => registration,
        Err(error) => return Err(withdraw(error, prior, entry, journal).await),
    };
    if let Some(replaced) = entry.registration.replace(registration) {
        let until = occasion.now.saturating_add(desired.rotation().overlap);
        entry.retired.push(ReplacedClient { registration: replaced, until });
    }
    settle(desired, occasion, entry);
    match record(entry, journal).await {
        Ok(()) if step == Step::Replace => Ok(Executed::Replaced),
        Ok(()) => Ok(Executed::Created),
        Err(Unstored { source, certainly }) => {
            // A client that nobody remembers is an orphan; we still hold its token. Only when the journal certainly
            // does not know the client, or the next run would hand out credentials of a deleted one.
            let undone = certainly && undo(desired, entry, *transport).await;
            Err(Error::Unrecorded { step, source, undone })
        }
    }
}

/// The journal of a client that was just made.
fn settle(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &mut JournalEntry) {
    let document = desired.document_with(entry);
    let drift = entry.registration.as_ref().map(|own| compare(desired, entry, &own.reported));
    entry.known_drift = drift.unwrap_or_default();
    entry.last_sent = Some(document);
    entry.previous_token = None;
    entry.intent = None;
    entry.obstacle = None;
    entry.credentials_since = Some(occasion.now);
    entry.fulfilled_request = occasion.rotation_request.map(str::to_owned);
    entry.home = Some(RegistrationOrigin {
        issuer: desired.issuer().to_owned(),
        endpoint: desired.endpoint().url().to_string(),
        token_endpoint: desired.token_endpoint().map(str::to_owned),
        trust: desired.trust().to_owned(),
    });
}

/// Deletes a client that was just created and could not be remembered; tells whether the server agreed.
async fn undo<T: Transport>(desired: &Desired, entry: &JournalEntry, transport: &T) -> bool {
    let Ok(held) = Held::of(Step::Delete, desired, entry) else { return false };
    match held.exchange(Step::Delete, desired, entry, transport).await {
        Ok((_, response)) => response.status().is_success(),
        Err(_reported_as_not_undone) => false,
    }
}
