//! The whole way: load, plan, execute, until nothing is left.

use crate::{
    AnswerFault, Deletion, Desired, Drift, Error, Executed, Gone, Journal, JournalEntry, Observed, PossibleOrphan,
    ReadBack, Registration, Secret, SecretExpiry, Transport, compare, execute, plan,
};

/// Most rounds of planning: the longest way is read, update, done.
const MAX_ROUNDS: usize = 4;

/// The client as it stands after a run. It holds a secret, so it has no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Registered {
    /// The client identifier.
    pub client_id: String,
    /// When it was issued, in seconds since 1970, if the server says so.
    pub client_id_issued_at: Option<u64>,
    /// The client secret, if the client has one.
    pub client_secret: Option<Secret>,
    /// When the secret ends, if the server says so.
    pub client_secret_expires_at: Option<SecretExpiry>,
    /// Each member that the server dropped or changed, for the `MetadataHonoured` condition.
    pub drift: Vec<Drift>,
    /// What was wrong with the last answer, though it could be used.
    pub faults: Vec<AnswerFault>,
    /// This run created or updated the client, or a read brought other credentials.
    pub changed: bool,
    /// Clients that may have been lost; people should look for them.
    pub possible_orphan: Option<PossibleOrphan>,
}

/// How a run ended.
pub enum Outcome {
    /// The client is gone, and the journal is empty.
    Gone {
        /// How we know.
        how: Gone,
        /// Clients that may have been lost earlier. The journal no longer tells of them.
        possible_orphan: Option<PossibleOrphan>,
    },
    /// The client is as desired, but for `drift`.
    Registered(Registered),
    /// Nothing was called and the journal was left as it is.
    Retained {
        /// The client that stays, if there is one.
        client_id: Option<String>,
    },
}

/// Brings one registration to its desired state: loads the journal, plans, and executes step by step until nothing is
/// left. May be called again at any time; a run that finds all in order makes no call. With [`ReadBack::Yes`] the server
/// is asked once for its description of the client, and new drift is corrected.
///
/// Errors: see [`Error`] and [`Error::retry`]. What was done before the error is in the journal.
pub async fn reconcile<T: Transport, J: Journal>(
    desired: &Desired,
    initial_access_token: Option<&Secret>,
    read_back: ReadBack,
    transport: &T,
    journal: &mut J,
) -> Result<Outcome, Error> {
    let mut entry = journal.load().await?;
    let mut read_back = read_back;
    let mut possible_orphan = entry.suspected();
    let mut gone = Gone::Absent;
    let mut changed = false;
    for _ in 0..MAX_ROUNDS {
        let steps = plan(desired, &Observed::new(&entry, read_back));
        if steps.is_empty() {
            possible_orphan = entry.suspected().or(possible_orphan);
            return Ok(outcome(desired, entry, changed, gone, possible_orphan));
        }
        for step in steps {
            let before = credentials(&entry);
            match execute(step, desired, initial_access_token, &mut entry, transport, journal).await? {
                Executed::Created | Executed::Updated => {
                    changed = true;
                    read_back = ReadBack::No;
                }
                Executed::Read => {
                    changed |= before != credentials(&entry);
                    read_back = ReadBack::No;
                }
                Executed::Deleted(how) => gone = how,
                Executed::Forgotten => (),
            }
        }
    }
    Err(Error::Unsettled)
}

fn credentials(entry: &JournalEntry) -> Option<(Option<Secret>, Option<SecretExpiry>)> {
    entry.registration.as_ref().map(|own| (own.client_secret.clone(), own.client_secret_expires_at))
}

fn outcome(
    desired: &Desired,
    entry: JournalEntry,
    changed: bool,
    how: Gone,
    possible_orphan: Option<PossibleOrphan>,
) -> Outcome {
    match (desired.deletion(), entry.registration) {
        (Deletion::Retain, registration) => Outcome::Retained { client_id: registration.map(|own| own.client_id) },
        (Deletion::Delete | Deletion::Keep, None) => Outcome::Gone { how, possible_orphan },
        (Deletion::Delete | Deletion::Keep, Some(registration)) => {
            let drift = compare(desired, &registration.reported);
            let Registration {
                client_id,
                client_id_issued_at,
                client_secret,
                client_secret_expires_at,
                faults,
                registration_access_token: _,
                registration_client_uri: _,
                reported: _,
            } = registration;
            Outcome::Registered(Registered {
                client_id,
                client_id_issued_at,
                client_secret,
                client_secret_expires_at,
                drift,
                faults,
                changed,
                possible_orphan,
            })
        }
    }
}
