//! The whole way: load, plan, execute, until nothing is left.

use crate::{
    AnswerFault, ClientKey, Deletion, Desired, Drift, Error, Executed, Gone, Journal, JournalEntry, Keys,
    PossibleOrphan, ReadBack, ReconcileInput, Registration, Secret, SecretExpiry, Step, Transport, compare, execute,
    management_failure::{hindrance, is_unmanaged},
    plan, rotation,
};

/// Most rounds of planning: read, probe, abandon and create, then rotate.
const MAX_ROUNDS: usize = 10;

/// What a run works with.
pub struct ReconcileContext<'a, T, K> {
    /// The time, and what people allow or ask for.
    pub occasion: ReconcileInput<'a>,
    /// Sends requests.
    pub transport: &'a T,
    /// Makes keys.
    pub keys: &'a K,
}

/// The client as it stands after a run. It holds secrets, so it has no `Debug`.
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
    /// How the client authenticates (`token_endpoint_auth_method`): what the server registered, else what was asked for.
    pub method: Option<String>,
    /// The key of the client's own that is to be used, if it has keys.
    pub key: Option<ClientKey>,
    /// Each member that the server dropped or changed, for the `MetadataAccepted` condition.
    pub drift: Vec<Drift>,
    /// What was wrong with the last answer, though it could be used.
    pub faults: Vec<AnswerFault>,
    /// This run created, replaced or updated the client, or a read brought other credentials.
    pub changed: bool,
    /// Clients that may have been lost; people should look for them.
    pub possible_orphan: Option<PossibleOrphan>,
    /// When the present credentials were made, in seconds since 1970.
    pub credentials_since: Option<u64>,
    /// When they are to be renewed, in seconds since 1970.
    pub next_rotation: Option<u64>,
    /// When the credentials before them end, while there are some, in seconds since 1970.
    pub old_until: Option<u64>,
    /// Clients that were replaced and are not deleted yet, by client_id.
    pub retiring: Vec<String>,
    /// This server cannot be asked to read, update or delete the client.
    pub unmanaged: bool,
    /// What could not be done, though the client stands: a read, a rotation, the end of a replaced client.
    pub hindered: Option<Error>,
}

/// How a run ended.
pub enum Outcome {
    /// The client is gone. Without a possible orphan the journal is empty; with one, it holds nothing else, and the caller
    /// clears it when somebody was told.
    Gone {
        /// How we know.
        how: Gone,
        /// Clients that may have been lost.
        possible_orphan: Option<PossibleOrphan>,
    },
    /// The client is as desired, but for `drift`.
    Registered(Box<Registered>),
    /// Nothing was called and the journal was left as it is.
    Retained {
        /// The client that stays, if there is one.
        client_id: Option<String>,
    },
}

/// Brings one registration to its desired state: loads the journal, plans, and executes step by step until nothing is
/// left. May be called again at any time; a run that finds all in order makes no call. With [`ReadBack::Yes`] the server
/// is asked once for its description of the client, and new drift is corrected, if it is to be.
///
/// Errors: see [`Error`] and [`Error::retry`]. What was done before the error is in the journal.
pub async fn reconcile<T: Transport, K: Keys, J: Journal>(
    desired: &Desired,
    situation: &ReconcileContext<'_, T, K>,
    journal: &mut J,
) -> Result<Outcome, Error> {
    let mut entry = journal.load().await?;
    let mut situation =
        ReconcileContext { occasion: situation.occasion, transport: situation.transport, keys: situation.keys };
    let mut told = Told { changed: false, gone: Gone::Absent, hindered: None };
    for _ in 0..MAX_ROUNDS {
        let steps = if told.hindered.is_some() { Vec::new() } else { plan(desired, &situation.occasion, &entry) };
        if steps.is_empty() {
            return conclude(desired, entry, told);
        }
        for step in steps {
            let before = credentials(&entry);
            let executed = match execute(step, desired, &situation, &mut entry, journal).await {
                Ok(executed) => executed,
                // The journal knows why the client cannot be managed; the next plan says what is to be done.
                Err(Error::LockedOut { .. } | Error::Missing { .. }) if entry.obstacle.is_some() => {
                    situation.occasion.read_back = ReadBack::No;
                    break;
                }
                Err(error) if desired.deletion() == Deletion::Keep && is_soft(step, &error) => {
                    // The entry may be ahead of the journal, or behind it.
                    entry = journal.load().await?;
                    told.hindered = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            match executed {
                Executed::Created | Executed::Replaced | Executed::Updated => {
                    told.changed = true;
                    situation.occasion.read_back = ReadBack::No;
                }
                Executed::Read => {
                    told.changed |= before != credentials(&entry);
                    situation.occasion.read_back = ReadBack::No;
                }
                Executed::Deleted(how) => told.gone = how,
                Executed::Forgotten
                | Executed::KeyAdded
                | Executed::KeysDropped
                | Executed::Probed(_)
                | Executed::ReplacedClient => (),
            }
        }
    }
    Err(Error::Unsettled)
}

/// Whether the client stands all the same. What the server made of a client that it was not asked to change is known.
fn is_soft(step: Step, error: &Error) -> bool {
    matches!(step, Step::Read | Step::Replace | Step::Retire)
        && !matches!(
            error,
            Error::AnotherIssuer { .. }
                | Error::Journal(_)
                | Error::LockedOut { .. }
                | Error::Missing { .. }
                | Error::Unrecorded { .. }
        )
}

/// What is told beside the journal.
struct Told {
    changed: bool,
    gone: Gone,
    hindered: Option<Error>,
}

fn credentials(entry: &JournalEntry) -> Option<(Option<Secret>, Option<SecretExpiry>)> {
    entry.registration.as_ref().map(|own| (own.client_secret.clone(), own.client_secret_expires_at))
}

fn conclude(desired: &Desired, entry: JournalEntry, told: Told) -> Result<Outcome, Error> {
    if desired.deletion() == Deletion::Retain {
        return Ok(Outcome::Retained { client_id: entry.registration.map(|own| own.client_id) });
    }
    let Some(registration) = entry.registration.clone() else {
        return Ok(Outcome::Gone { how: told.gone, possible_orphan: entry.suspected() });
    };
    if let Some(error) = hindrance(desired, &entry) {
        return Err(error);
    }
    if desired.deletion() == Deletion::Delete {
        // Nothing is planned and nothing hinders: the plan is at fault.
        return Err(told.hindered.unwrap_or(Error::Unsettled));
    }

    let drift = compare(desired, &entry, &registration.reported);
    let unmanaged = is_unmanaged(desired, &entry, &registration);
    let retiring = entry.retired.iter().map(|retired| retired.registration.client_id.clone()).collect();
    let possible_orphan = entry.suspected();
    let (next_rotation, old_until) = (rotation::next_at(desired, &entry), rotation::retires_at(&entry));
    let key = desired.key_purpose().and_then(|_| entry.present_key().cloned());
    let Registration {
        client_id,
        client_id_issued_at,
        client_secret,
        client_secret_expires_at,
        faults,
        registration_access_token: _,
        registration_client_uri: _,
        reported,
    } = registration;
    let method = reported.get("token_endpoint_auth_method").and_then(serde_json::Value::as_str);
    let method = method.or_else(|| desired.method()).map(str::to_owned);
    Ok(Outcome::Registered(Box::new(Registered {
        client_id,
        client_id_issued_at,
        client_secret,
        client_secret_expires_at,
        method,
        key,
        drift,
        faults,
        changed: told.changed,
        possible_orphan,
        credentials_since: entry.credentials_since,
        next_rotation,
        old_until,
        retiring,
        unmanaged,
        hindered: told.hindered,
    })))
}
