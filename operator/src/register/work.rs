//! One run for one registration.

use std::{sync::Arc, time::Duration};

use portreeve_compiler::{Options, ResolvedRegistration};
use portreeve_crds::v1alpha1::ClientRegistration;
use portreeve_policy::NamespacedName;
use portreeve_registration::{
    Deletion, Error, Journal, JournalEntry, JournalError, Outcome, ReadBack, ReconcileContext, ReconcileInput,
    Registered, Retry, Secret, reconcile,
};

use super::{
    conditions::{self, ABANDON, ACCEPT, ROTATE},
    credentials::ClientCredentials,
    desired::desired,
    end::{end, end_vanished},
    file_store::Vanished,
    grant,
    keys::OperatorKeys,
    report::RegistrationReport,
    store::{AnyJournal, HeldIdentity, Store, StoreFault},
};
use crate::{
    clock::{Clock, SharedClock},
    outbound::SsrfGuardedClient,
};

/// What is to be done.
pub(super) enum Job {
    /// The client is wanted.
    Keep {
        registration: Arc<ClientRegistration>,
        target: ResolvedRegistration,
        read_back: ReadBack,
        /// The inventory holds a Secret of the credentials' name.
        secret_known: bool,
    },
    /// The object is being deleted and waits for us; why the target is not known, if it is not.
    End {
        registration: Arc<ClientRegistration>,
        target: Result<ResolvedRegistration, String>,
        /// How often it was tried in vain.
        failures: u32,
    },
    /// The object is gone from the folder.
    Vanished(Vanished),
}

/// What every run works with.
#[derive(Clone)]
pub(super) struct Deps {
    pub(super) store: Store,
    pub(super) options: Options,
    pub(super) clock: SharedClock,
}

/// What a run leads to.
pub(super) struct Done {
    pub(super) name: NamespacedName,
    /// `None`: nothing is left to be told.
    pub(super) report: Option<RegistrationReport>,
    pub(super) next: Requeue,
    pub(super) good: bool,
    /// The registration endpoint that asked to be left alone, and for how long.
    pub(super) busy: Option<(String, Duration)>,
}

/// When to run again without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requeue {
    /// With a growing wait.
    Backoff,
    /// After this time.
    In(Duration),
    /// To look for drift, or earlier, when this time is over.
    Drift(Option<Duration>),
    /// Only after a change.
    Never,
}

/// A refusal at the server may be lifted there; nothing is lost by asking again now and then.
const REFUSED_AGAIN: Duration = Duration::from_mins(10);

/// For how long a Secret that is read as variables may lag behind, in a kubelet's cache.
const KUBELET_LAG: u64 = 10;

/// A wait that a server names is for the others too.
const BUSY_WITHOUT_TIME: Duration = Duration::from_secs(1);

pub(super) async fn run(name: NamespacedName, job: Job, means: Deps) -> Done {
    match job {
        Job::Keep { registration, target, read_back, secret_known } => {
            let run = Keep { name: &name, registration: &registration, target: &target, means: &means };
            let Ended { report, next, good, busy } = run.keep(read_back, secret_known).await;
            let busy = busy.map(|wait| (target.registration_endpoint.clone(), wait));
            Done { name, report: Some(report), next, good, busy }
        }
        Job::End { registration, target, failures } => end(name, &registration, target, failures, &means).await,
        Job::Vanished(vanished) => end_vanished(name, &vanished, &means).await,
    }
}

pub(super) fn generation_of(registration: &ClientRegistration) -> u64 {
    registration.metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(0)
}

/// The value of an annotation.
pub(super) fn annotation<'a>(registration: &'a ClientRegistration, name: &str) -> Option<&'a str> {
    registration.metadata.annotations.as_ref()?.get(name).map(|value| value.trim())
}

pub(super) fn seconds(clock: &dyn Clock) -> u64 {
    clock.now().0 / 1000
}

/// How a run to keep a client ended.
struct Ended {
    report: RegistrationReport,
    next: Requeue,
    good: bool,
    busy: Option<Duration>,
}

/// A run to keep a client.
struct Keep<'a> {
    name: &'a NamespacedName,
    registration: &'a ClientRegistration,
    target: &'a ResolvedRegistration,
    means: &'a Deps,
}

impl Keep<'_> {
    #[expect(clippy::too_many_lines, reason = "the steps of one reconciliation, in their order")]
    async fn keep(&self, read_back: ReadBack, secret_known: bool) -> Ended {
        let Self { registration, target, means, .. } = *self;
        let generation = generation_of(registration);
        let held = match means.store.check_credentials(registration, secret_known).await {
            Ok(held) => held,
            Err(StoreFault::Foreign(message)) => return stopped(conditions::foreign(generation, &message)),
            Err(StoreFault::Unavailable(fault)) => return self.hindered(&fault),
        };
        let mut journal = means.store.journal(self.name, registration);
        let entry = match journal.load().await {
            Ok(entry) => entry,
            Err(fault) => return self.failed(&Error::Journal(fault), &JournalEntry::default()),
        };
        let asked = grant::asked(registration);
        let granted = grant::grant(&target.access, &asked, &entry, annotation(registration, ACCEPT));
        if granted.deletion == Deletion::Delete && entry.is_blank() {
            return stopped(conditions::withheld(generation, &target.access));
        }
        let wanted = match desired(registration, target, means.options, &granted) {
            Ok(wanted) => wanted,
            Err(fault) => return stopped(conditions::invalid(generation, &fault)),
        };
        if let Err(fault) = means.store.claim(registration, target).await {
            return self.hindered(&fault.to_string());
        }
        let client = match SsrfGuardedClient::new(&target.ca_certificates, means.options) {
            Ok(client) => client,
            Err(fault) => return stopped(conditions::invalid(generation, &fault.to_string())),
        };
        let holders = match self.holders(&entry).await {
            Ok(holders) => holders,
            Err(fault) => return self.hindered(&fault.to_string()),
        };
        let initial = target.initial_access_token.as_ref().and_then(|token| token.expose_str());
        let initial = initial.map(|token| Secret::new(token.trim().to_owned()));
        let occasion = ReconcileInput {
            now: seconds(means.clock.as_ref()),
            initial_access_token: initial.as_ref(),
            read_back,
            consent: annotation(registration, ABANDON),
            rotation_request: annotation(registration, ROTATE),
            old_in_use: !holders.is_empty() || !speaks_of(&held, &entry),
        };
        let keys = OperatorKeys::new(Arc::clone(&means.clock));
        let situation = ReconcileContext { occasion, transport: &client, keys: &keys };
        match reconcile(&wanted, &situation, &mut journal).await {
            Ok(Outcome::Registered(client)) => {
                if let Err(fault) = remember(&mut journal, &asked).await {
                    return self.hindered(&fault.to_string());
                }
                if client.changed {
                    tracing::info!(registration = %self.name, client_id = %client.client_id, "client registered or updated");
                }
                self.write(&client, &holders, &granted.kept).await
            }
            Ok(Outcome::Gone { possible_orphan, .. }) if granted.deletion == Deletion::Delete => {
                if let Some(orphan) = possible_orphan
                    && let Err(fault) = means.store.tell_orphan(registration, &orphan).await
                {
                    return self.hindered(&fault.to_string());
                }
                if let Err(fault) = journal.clear().await {
                    return self.hindered(&fault.to_string());
                }
                stopped(conditions::withheld(generation, &target.access))
            }
            // Neither is the end of keeping a client.
            Ok(Outcome::Gone { .. } | Outcome::Retained { .. }) => self.hindered("the client was not kept"),
            Err(error) => {
                tracing::warn!(registration = %self.name, fault = %error, "registration failed");
                let entry = journal.load().await.unwrap_or_default();
                self.failed(&error, &entry)
            }
        }
    }

    /// Asked only when something is about to end that somebody may still use.
    async fn holders(&self, entry: &JournalEntry) -> Result<Vec<String>, StoreFault> {
        let retires = !entry.retired.is_empty() || entry.keys.iter().any(|key| key.until.is_some());
        match entry.credentials_since.filter(|_| retires) {
            Some(since) => self.means.store.holders(self.registration, since.saturating_add(KUBELET_LAG)).await,
            None => Ok(Vec::new()),
        }
    }

    async fn write(&self, client: &Registered, holders: &[String], kept: &[String]) -> Ended {
        let Self { registration, target, means, .. } = *self;
        let generation = generation_of(registration);
        let credentials = ClientCredentials::new(client, target);
        match means.store.write_credentials(registration, &credentials).await {
            Ok(()) => {
                if let Some(error) = &client.hindered {
                    tracing::warn!(registration = %self.name, fault = %error, "the client stands, but not all was done");
                }
                let secret = &registration.spec.credentials_secret_name;
                Ended {
                    report: conditions::keeping(
                        conditions::registered(generation, client, &target.access, secret, holders),
                        &target.access,
                        kept,
                    ),
                    next: self.next(client, holders),
                    good: client.hindered.is_none(),
                    busy: client.hindered.as_ref().and_then(busy),
                }
            }
            Err(StoreFault::Foreign(message)) => stopped(conditions::foreign(generation, &message)),
            Err(StoreFault::Unavailable(fault)) => Ended {
                report: conditions::unwritten(generation, client, &target.access, &fault),
                next: Requeue::Backoff,
                good: false,
                busy: None,
            },
        }
    }

    fn next(&self, client: &Registered, holders: &[String]) -> Requeue {
        if let Some(error) = &client.hindered {
            return match next_after(error) {
                Requeue::Never => Requeue::In(REFUSED_AGAIN),
                next @ (Requeue::Backoff | Requeue::Drift(_) | Requeue::In(_)) => next,
            };
        }
        let now = seconds(self.means.clock.as_ref());
        let retiring = client.old_until.map(|at| if holders.is_empty() { at } else { at.max(now.saturating_add(20)) });
        let at = client.next_rotation.filter(|_| client.old_until.is_none()).into_iter().chain(retiring).min();
        Requeue::Drift(at.map(|at| Duration::from_secs(at.saturating_sub(now).max(1))))
    }

    fn hindered(&self, fault: &str) -> Ended {
        let report = conditions::hindered(generation_of(self.registration), fault);
        Ended { report, next: Requeue::Backoff, good: false, busy: None }
    }

    fn failed(&self, error: &Error, entry: &JournalEntry) -> Ended {
        let report = conditions::failed(generation_of(self.registration), error, entry, self.target);
        Ended { report, next: next_after(error), good: false, busy: busy(error) }
    }
}

/// Notes what the object asked for, so that a later edit is told from a decision of others.
async fn remember(journal: &mut AnyJournal, asked: &str) -> Result<(), JournalError> {
    let entry = journal.load().await?;
    if entry.asked.as_deref() == Some(asked) {
        return Ok(());
    }
    journal.store(&JournalEntry { asked: Some(asked.to_owned()), ..entry }).await
}

/// Only an edit helps.
fn stopped(report: RegistrationReport) -> Ended {
    Ended { report, next: Requeue::Never, good: false, busy: None }
}

/// Whether a Secret holds the newest credentials of the journal. What is retired is not ended before it does.
fn speaks_of(held: &HeldIdentity, entry: &JournalEntry) -> bool {
    let client = entry.registration.as_ref().map(|own| own.client_id.as_str());
    let key = entry.present_key().filter(|key| key.certificate.is_none()).map(|key| key.kid.as_str());
    held.client_id.as_deref() == client && held.key_id.as_deref() == key
}

/// How long a server wants to be left alone.
fn busy(error: &Error) -> Option<Duration> {
    match (error, error.retry()) {
        (Error::Busy { .. }, Retry::After(wait)) => Some(wait),
        (Error::Busy { .. }, Retry::Later | Retry::Never) => Some(BUSY_WITHOUT_TIME),
        _ => None,
    }
}

pub(super) fn next_after(error: &Error) -> Requeue {
    match error.retry() {
        Retry::After(wait) => Requeue::In(wait),
        Retry::Later => Requeue::Backoff,
        Retry::Never if matches!(error, Error::InitialTokenRefused { .. } | Error::Refused { .. }) => {
            Requeue::In(REFUSED_AGAIN)
        }
        // Somebody may lift the lock, or bring the client back; a read would tell.
        Retry::Never if matches!(error, Error::LockedOut { .. } | Error::Missing { .. }) => Requeue::Drift(None),
        Retry::Never => Requeue::Never,
    }
}
