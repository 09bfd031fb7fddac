//! Carries one step out: intent into the journal, call, result into the journal.
//!
//! ```text
//!   store(intent) ──▶ send ──▶ store(result, no intent) ──▶ next step
//!        │crash         │crash          │crash
//!        ▼              ▼               ▼
//!   nothing was    create: possible orphan, reported with its marker, and a new create
//!   sent; the      read, update: the new registration token may be lost; the call is made again with the
//!   step again     present token, then the previous one, then `LockedOut` is reported
//!                  delete: asked again; 401 and 404 now mean gone
//! ```
//!
//! A call that certainly did nothing (not sent, 4xx) takes its intent out of the journal again, so that no false alarm
//! stays. One `store` writes the new registration token, the secret and the metadata together, before anything else is
//! done with the answer.

#[cfg(test)]
mod tests;

use http::Response;

use crate::{
    Desired, Error, Intent, Journal, JournalEntry, JournalError, JournalFault, Registration, Secret, Step, Transport,
    Unmanageable,
    client::{create_request, described, failure, management_request},
    compare,
};

/// How often a result is offered to a journal that does not answer.
const STORE_ATTEMPTS: usize = 3;

/// How we know that the client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// There was nothing to delete.
    Absent,
    /// The server said so (2xx).
    Confirmed,
    /// 404 or 410; or 401 after an earlier delete of ours that had no answer.
    NotFound,
    /// 401 to the first delete, with a token that no lost answer can have replaced. The server no longer knows the
    /// client or has revoked the token (RFC 7592 section 2.3); worth an Event.
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
    /// The client was read.
    Read,
    /// The client was updated.
    Updated,
}

/// Carries `step` out and leaves `entry` as it is in the journal. After an error the entry is to be loaded again.
///
/// Errors: everything of [`Error`] but `Unsettled`. A step that needs a client and finds none is refused as
/// [`Error::Unmanageable`].
pub async fn execute<T: Transport, J: Journal>(
    step: Step,
    desired: &Desired,
    initial_access_token: Option<&Secret>,
    entry: &mut JournalEntry,
    transport: &T,
    journal: &mut J,
) -> Result<Executed, Error> {
    match step {
        Step::Create => create(desired, initial_access_token, entry, transport, journal).await,
        Step::Delete => delete(desired, entry, transport, journal).await,
        Step::Forget => {
            journal.clear().await?;
            *entry = JournalEntry::default();
            Ok(Executed::Forgotten)
        }
        Step::Read | Step::Update => describe(step, desired, entry, transport, journal).await,
    }
}

/// RFC 7591 section 3. An earlier create without a recorded answer becomes a possible orphan here.
async fn create<T: Transport, J: Journal>(
    desired: &Desired,
    initial: Option<&Secret>,
    entry: &mut JournalEntry,
    transport: &T,
    journal: &mut J,
) -> Result<Executed, Error> {
    let request = create_request(desired, initial)?;
    entry.possible_orphan = entry.suspected();
    entry.intent = None;
    begin(Step::Create, desired, entry, journal).await?;

    let secrets: Vec<&Secret> = initial.into_iter().collect();
    let answer = match transport.send(request).await {
        Ok(response) => described(Step::Create, &response, desired.endpoint(), None, &secrets),
        Err(error) => Err(error.into()),
    };
    let registration = match answer {
        Ok(registration) => registration,
        Err(error) => return Err(withdraw(error, None, entry, journal).await),
    };
    entry.known_drift = compare(desired, &registration.reported);
    entry.last_sent = Some(desired.document().clone());
    entry.previous_token = None;
    entry.registration = Some(registration);
    entry.intent = None;
    match record(entry, journal).await {
        Ok(()) => Ok(Executed::Created),
        Err(Unstored { source, certainly }) => {
            // A client that nobody remembers is an orphan; we still hold its token. Only when the journal certainly
            // does not know the client, or the next run would hand out credentials of a deleted one.
            let undone = certainly && undo(desired, entry, transport).await;
            Err(Error::Unrecorded { step: Step::Create, source, undone })
        }
    }
}

/// RFC 7592 sections 2.1 and 2.2.
async fn describe<T: Transport, J: Journal>(
    step: Step,
    desired: &Desired,
    entry: &mut JournalEntry,
    transport: &T,
    journal: &mut J,
) -> Result<Executed, Error> {
    let prior = entry.intent.clone();
    let held = Held::of(step, desired, entry)?;
    begin(step, desired, entry, journal).await?;

    let answer = match held.exchange(step, desired, transport).await {
        Ok((used, response)) => {
            held.described(step, desired, &response, in_doubt(prior.as_ref())).map(|answer| (used, answer))
        }
        Err(error) => Err(error),
    };
    let (used, answer) = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(withdraw(error, prior, entry, journal).await),
    };
    settle(step, desired, entry, held, used, answer);
    match record(entry, journal).await {
        Ok(()) if step == Step::Read => Ok(Executed::Read),
        Ok(()) => Ok(Executed::Updated),
        Err(Unstored { source, certainly: _ }) => Err(Error::Unrecorded { step, source, undone: false }),
    }
}

/// RFC 7592 section 2.3.
async fn delete<T: Transport, J: Journal>(
    desired: &Desired,
    entry: &mut JournalEntry,
    transport: &T,
    journal: &mut J,
) -> Result<Executed, Error> {
    let prior = entry.intent.clone();
    let doubt = in_doubt(prior.as_ref());
    let asked_before = prior.as_ref().is_some_and(|intent| intent.step == Step::Delete);
    let held = Held::of(Step::Delete, desired, entry)?;
    begin(Step::Delete, desired, entry, journal).await?;

    let answer = held.exchange(Step::Delete, desired, transport).await;
    let gone = answer.and_then(|(_, response)| match response.status().as_u16() {
        200..=299 => Ok(Gone::Confirmed),
        404 | 410 => Ok(Gone::NotFound),
        401 if !doubt && asked_before => Ok(Gone::NotFound),
        401 if !doubt => Ok(Gone::TokenRefused),
        401 => Err(held.locked_out(doubt)),
        _ => Err(held.failure(Step::Delete, &response)),
    });
    let gone = match gone {
        Ok(gone) => gone,
        Err(error) => return Err(withdraw(error, prior, entry, journal).await),
    };
    *entry = JournalEntry { possible_orphan: entry.possible_orphan.take(), ..JournalEntry::default() };
    match record(entry, journal).await {
        Ok(()) => Ok(Executed::Deleted(gone)),
        Err(Unstored { source, certainly: _ }) => Err(Error::Unrecorded { step: Step::Delete, source, undone: false }),
    }
}

/// Takes an answer over: secrets at once, the old token as the previous one until the new one worked.
fn settle(step: Step, desired: &Desired, entry: &mut JournalEntry, held: Held, used: Secret, mut answer: Registration) {
    let Held { mut registration, previous: _, token: _ } = held;
    let before = compare(desired, &registration.reported);
    let edited = entry.last_sent.as_ref() != Some(desired.document());
    let issued = answer.registration_access_token.take().filter(|issued| *issued != used);
    registration.absorb(answer);
    (registration.registration_access_token, entry.previous_token) = match issued {
        Some(issued) => (Some(issued), Some(used)),
        None => (Some(used), None),
    };
    let now = compare(desired, &registration.reported);
    if step == Step::Read {
        entry.known_drift.retain(|known| now.contains(known));
    } else {
        // Drift that this update was to cure is known from now on: if the next read shows it again, the update did not
        // help and another will not. A read without it forgets it.
        let cured = if edited { Vec::new() } else { before };
        entry.known_drift = now;
        let unseen: Vec<_> = cured.into_iter().filter(|drift| !entry.known_drift.contains(drift)).collect();
        entry.known_drift.extend(unseen);
        entry.last_sent = Some(desired.document().clone());
    }
    entry.registration = Some(registration);
    entry.intent = None;
}

/// The client and the tokens that may open it.
struct Held {
    registration: Registration,
    token: Secret,
    previous: Option<Secret>,
}

impl Held {
    /// Refuses a client that cannot be managed before any intent is written.
    fn of(step: Step, desired: &Desired, entry: &JournalEntry) -> Result<Self, Error> {
        let token = entry.registration.as_ref().and_then(|own| own.registration_access_token.clone());
        let (Some(registration), Some(token)) = (entry.registration.clone(), token) else {
            return Err(Error::Unmanageable { step, reason: Unmanageable::NoToken });
        };
        management_request(step, desired, &registration, &token)?;
        Ok(Self { registration, token, previous: entry.previous_token.clone() })
    }

    /// Sends the request; on 401 once more with the previous token, if there is one.
    async fn exchange<T: Transport>(
        &self,
        step: Step,
        desired: &Desired,
        transport: &T,
    ) -> Result<(Secret, Response<Vec<u8>>), Error> {
        let response = transport.send(management_request(step, desired, &self.registration, &self.token)?).await?;
        match &self.previous {
            Some(previous) if response.status() == http::StatusCode::UNAUTHORIZED => {
                let request = management_request(step, desired, &self.registration, previous)?;
                Ok((previous.clone(), transport.send(request).await?))
            }
            Some(_) | None => Ok((self.token.clone(), response)),
        }
    }

    fn described(
        &self,
        step: Step,
        desired: &Desired,
        response: &Response<Vec<u8>>,
        rotation_lost: bool,
    ) -> Result<Registration, Error> {
        if response.status() == http::StatusCode::UNAUTHORIZED {
            return Err(self.locked_out(rotation_lost));
        }
        described(step, response, desired.endpoint(), Some(&self.registration.client_id), &self.secrets())
    }

    fn failure(&self, step: Step, response: &Response<Vec<u8>>) -> Error {
        failure(step, response, Some(&self.registration.client_id), &self.secrets())
    }

    fn locked_out(&self, rotation_lost: bool) -> Error {
        Error::LockedOut { client_id: self.registration.client_id.clone(), rotation_lost }
    }

    fn secrets(&self) -> Vec<&Secret> {
        let Self { registration, token, previous } = self;
        [Some(token), previous.as_ref(), registration.client_secret.as_ref()].into_iter().flatten().collect()
    }
}

/// Whether a read or an update without a recorded answer may have replaced our token.
fn in_doubt(intent: Option<&Intent>) -> bool {
    intent.is_some_and(|intent| intent.token_in_doubt || matches!(intent.step, Step::Read | Step::Update))
}

async fn begin<J: Journal>(
    step: Step,
    desired: &Desired,
    entry: &mut JournalEntry,
    journal: &mut J,
) -> Result<(), Error> {
    entry.intent = Some(Intent {
        step,
        marker: desired.marker().clone(),
        generation: desired.generation(),
        token_in_doubt: in_doubt(entry.intent.as_ref()),
    });
    Ok(journal.store(entry).await?)
}

/// Takes the intent back when the server certainly did nothing. Should the journal fail, the intent stays, which is no
/// more than a false alarm; the first error is the one that is told.
async fn withdraw<J: Journal>(error: Error, prior: Option<Intent>, entry: &mut JournalEntry, journal: &mut J) -> Error {
    if !error.may_have_acted() {
        entry.intent = prior;
        journal.store(entry).await.ok();
    }
    error
}

/// A result that the journal did not take; `certainly` if no attempt can have taken effect.
struct Unstored {
    source: JournalError,
    certainly: bool,
}

/// Offers a result to the journal, a few times if it does not answer: this is all that remembers a new token.
async fn record<J: Journal>(entry: &JournalEntry, journal: &mut J) -> Result<(), Unstored> {
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

/// Deletes a client that was just created and could not be remembered; tells whether the server agreed.
async fn undo<T: Transport>(desired: &Desired, entry: &JournalEntry, transport: &T) -> bool {
    let Ok(held) = Held::of(Step::Delete, desired, entry) else { return false };
    match held.exchange(Step::Delete, desired, transport).await {
        Ok((_, response)) => response.status().is_success(),
        Err(_reported_as_not_undone) => false,
    }
}
