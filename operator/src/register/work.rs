//! One run for one registration.

use std::{sync::Arc, time::Duration};

use portreeve_compiler::{Options, ResolvedRegistration};
use portreeve_crds::v1alpha1::{ClientRegistration, DeletionPolicy};
use portreeve_policy::NamespacedName;
use portreeve_registration::{Deletion, Error, Journal, Outcome, ReadBack, Registered, Retry, Secret, reconcile};

use super::{
    conditions,
    desired::{deletion_of, desired},
    file_store::{FileStore, Vanished},
    report::RegistrationReport,
    store::{AnyJournal, ClientCredentials, Store, StoreFault},
};
use crate::outbound::GuardedClient;

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
    End { registration: Arc<ClientRegistration>, target: Result<ResolvedRegistration, String> },
    /// The object is gone from the folder.
    Vanished(Vanished),
}

/// What a run leads to.
pub(super) struct Done {
    pub(super) name: NamespacedName,
    /// `None`: nothing is left to be told.
    pub(super) report: Option<RegistrationReport>,
    pub(super) next: Next,
    pub(super) good: bool,
}

/// When to run again without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// With a growing wait.
    Backoff,
    /// After this time.
    In(Duration),
    /// To look for drift.
    Drift,
    /// Only after a change.
    Never,
}

/// A refusal at the server may be lifted there; nothing is lost by asking again now and then.
const REFUSED_AGAIN: Duration = Duration::from_mins(10);

pub(super) async fn run(name: NamespacedName, job: Job, store: Store, options: Options) -> Done {
    match job {
        Job::Keep { registration, target, read_back, secret_known } => {
            let (report, next, good) =
                keep(&name, &registration, &target, read_back, secret_known, &store, options).await;
            Done { name, report: Some(report), next, good }
        }
        Job::End { registration, target } => {
            let ended = end(&name, &registration, target, &store, options).await;
            let report = ended.as_ref().err().map(|(reason, _)| {
                let told =
                    format!("cannot delete the client: {reason}; deletionPolicy: Retain lets the object go without");
                conditions::hindered(generation_of(&registration), &told)
            });
            finished(name, report, &ended)
        }
        Job::Vanished(vanished) => {
            let Some(files) = store.files() else {
                return Done { name, report: None, next: Next::Never, good: true };
            };
            let ended = end_vanished(&vanished, files, options).await;
            finished(name, None, &ended)
        }
    }
}

fn finished(name: NamespacedName, report: Option<RegistrationReport>, ended: &Result<(), (String, Next)>) -> Done {
    if let Err((reason, _)) = ended {
        tracing::warn!(registration = %name, %reason, "cannot delete the client of an object that goes");
    }
    let next = ended.as_ref().map_or_else(|(_, next)| *next, |()| Next::Never);
    Done { name, report, next, good: ended.is_ok() }
}

fn generation_of(registration: &ClientRegistration) -> u64 {
    registration.metadata.generation.and_then(|generation| u64::try_from(generation).ok()).unwrap_or(0)
}

async fn keep(
    name: &NamespacedName,
    registration: &ClientRegistration,
    target: &ResolvedRegistration,
    read_back: ReadBack,
    secret_known: bool,
    store: &Store,
    options: Options,
) -> (RegistrationReport, Next, bool) {
    let generation = generation_of(registration);
    let hindered = |fault: &str| (conditions::hindered(generation, fault), Next::Backoff, false);
    let wanted = match desired(registration, &target.registration_endpoint, options, Deletion::Keep) {
        Ok(wanted) => wanted,
        Err(fault) => return (conditions::invalid(generation, &fault), Next::Never, false),
    };
    match store.check_credentials(registration, secret_known).await {
        Ok(()) => {}
        Err(StoreFault::Foreign(message)) => return (conditions::foreign(generation, &message), Next::Never, false),
        Err(StoreFault::Unavailable(fault)) => return hindered(&fault),
    }
    if let Err(fault) = store.claim(registration, target).await {
        return hindered(&fault.to_string());
    }
    let client = match GuardedClient::new(&target.ca_certificates, options) {
        Ok(client) => client,
        Err(fault) => return (conditions::invalid(generation, &fault.to_string()), Next::Never, false),
    };
    let initial = target.initial_access_token.as_ref();
    let initial = initial.and_then(|token| token.expose_str()).map(|token| Secret::new(token.trim().to_owned()));
    let mut journal = store.journal(name, registration);
    match reconcile(&wanted, initial.as_ref(), read_back, &client, &mut journal).await {
        Ok(Outcome::Registered(client)) => {
            if client.changed {
                tracing::info!(registration = %name, client_id = %client.client_id, "client registered or updated");
            }
            write(registration, target, &client, store, generation).await
        }
        // Neither is the end of keeping a client.
        Ok(Outcome::Gone { .. } | Outcome::Retained { .. }) => hindered("the client was not kept"),
        Err(error) => {
            tracing::warn!(registration = %name, fault = %error, "registration failed");
            (conditions::failed(generation, &error), next_after(&error), false)
        }
    }
}

async fn write(
    registration: &ClientRegistration,
    target: &ResolvedRegistration,
    client: &Registered,
    store: &Store,
    generation: u64,
) -> (RegistrationReport, Next, bool) {
    let credentials = ClientCredentials {
        client_id: client.client_id.clone(),
        client_secret: client.client_secret.clone(),
        issuer: target.issuer.clone(),
        token_endpoint: target.token_endpoint.clone(),
    };
    match store.write_credentials(registration, &credentials).await {
        Ok(()) => {
            let secret = &registration.spec.credentials_secret_name;
            (conditions::registered(generation, client, secret), Next::Drift, true)
        }
        Err(StoreFault::Foreign(message)) => (conditions::foreign(generation, &message), Next::Never, false),
        Err(StoreFault::Unavailable(fault)) => {
            (conditions::unwritten(generation, client, &fault), Next::Backoff, false)
        }
    }
}

/// Ends a registration whose object is being deleted.
async fn end(
    name: &NamespacedName,
    registration: &ClientRegistration,
    target: Result<ResolvedRegistration, String>,
    store: &Store,
    options: Options,
) -> Result<(), (String, Next)> {
    let backoff = |fault: StoreFault| (fault.to_string(), Next::Backoff);
    let mut journal = store.journal(name, registration);
    let retained = registration.spec.deletion_policy == DeletionPolicy::Retain;
    if !retained {
        let entry = journal.load().await.map_err(|fault| (fault.to_string(), Next::Backoff))?;
        // What was never begun needs no token service to be ended.
        if !entry.is_blank() {
            let target = target.map_err(|fault| (fault, Next::Backoff))?;
            let uid = registration.metadata.uid.as_deref().unwrap_or_default();
            delete(&target.registration_endpoint, &target.ca_certificates, uid, &mut journal, options).await?;
            tracing::info!(registration = %name, "client deleted, for its object is being deleted");
        }
        journal.clear().await.map_err(|fault| (fault.to_string(), Next::Backoff))?;
    }
    store.unclaim(registration, retained).await.map_err(backoff)
}

/// Ends a registration whose object is gone, as the object last said.
async fn end_vanished(vanished: &Vanished, files: &FileStore, options: Options) -> Result<(), (String, Next)> {
    let backoff = |fault: StoreFault| (fault.to_string(), Next::Backoff);
    if vanished.deletion_policy == DeletionPolicy::Retain {
        tracing::info!(registration = %vanished.name, "the client is retained, and so are journal and credentials");
        return files.release(vanished).map_err(backoff);
    }
    let Vanished { name, uid, registration_endpoint, ca_certificates, .. } = vanished;
    let mut journal = AnyJournal::Files(files.journal(name));
    delete(registration_endpoint, ca_certificates, uid, &mut journal, options).await?;
    files.forget(vanished).map_err(backoff)?;
    tracing::info!(registration = %name, "client deleted, for its object is gone");
    Ok(())
}

/// Deletes the client at the token service, if there is one.
async fn delete(
    endpoint: &str,
    ca_certificates: &str,
    uid: &str,
    journal: &mut AnyJournal,
    options: Options,
) -> Result<(), (String, Next)> {
    let wanted = deletion_of(endpoint, uid, options).map_err(|fault| (fault, Next::Never))?;
    let client = GuardedClient::new(ca_certificates, options).map_err(|fault| (fault.to_string(), Next::Never))?;
    let outcome = reconcile(&wanted, None, ReadBack::No, &client, journal).await;
    outcome.map(drop).map_err(|error| (error.to_string(), next_after(&error)))
}

fn next_after(error: &Error) -> Next {
    match error.retry() {
        Retry::After(wait) => Next::In(wait),
        Retry::Later => Next::Backoff,
        Retry::Never if matches!(error, Error::InitialTokenRefused { .. } | Error::Refused { .. }) => {
            Next::In(REFUSED_AGAIN)
        }
        Retry::Never => Next::Never,
    }
}
