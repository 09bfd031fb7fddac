//! The end of a registration: the client is deleted, and what cannot be deleted is told of.

use std::time::Duration;

use portreeve_compiler::ResolvedRegistration;
use portreeve_crds::v1alpha1::{ClientRegistration, DeletionPolicy};
use portreeve_policy::NamespacedName;
use portreeve_registration::{
    Journal, JournalEntry, Marker, Outcome, PossibleOrphan, ReadBack, ReconcileContext, ReconcileInput,
    RegistrationOrigin, reconcile,
};

use super::{
    conditions::{self, ABANDON},
    desired::deletion_of,
    file_store::{FileStore, Vanished},
    keys::OperatorKeys,
    store::{AnyJournal, StoreFault},
    work::{Deps, Done, Requeue, annotation, generation_of, next_after, seconds},
};
use crate::outbound::SsrfGuardedClient;

/// Tries before the object says that it is stuck; with the growing wait about a quarter of an hour.
const TRIES: u32 = 10;

/// How often a stuck deletion is tried.
const STUCK_AGAIN: Duration = Duration::from_hours(1);

/// Why an end failed, and when to try again.
type Failure = (String, Requeue);

/// Ends a registration whose object is being deleted.
pub(super) async fn end(
    name: NamespacedName,
    registration: &ClientRegistration,
    target: Result<ResolvedRegistration, String>,
    failures: u32,
    means: &Deps,
) -> Done {
    let ended = end_claimed(&name, registration, target, means).await;
    let Err((reason, next)) = ended else { return finished(name, &ended) };
    let stalled = is_stuck(failures, next);
    let message = format!(
        "cannot delete the client: {reason}; to let the object go all the same, annotate it with {ABANDON} and its \
         client_id, or set deletionPolicy: Retain"
    );
    let report = Some(conditions::undeleted(generation_of(registration), &message, stalled));
    let next = if stalled { Requeue::In(STUCK_AGAIN) } else { next };
    tracing::warn!(registration = %name, %reason, stalled, "cannot delete the client of an object that goes");
    Done { name, report, next, good: false, busy: None }
}

/// Whether this failure, after so many others, is one that people should know of.
fn is_stuck(failures: u32, next: Requeue) -> bool {
    failures.saturating_add(1) >= TRIES || matches!(next, Requeue::Drift(_) | Requeue::Never)
}

/// Ends a registration whose object is gone, as the object last said.
pub(super) async fn end_vanished(name: NamespacedName, vanished: &Vanished, means: &Deps) -> Done {
    let ended = match means.store.files() {
        Some(files) => end_file(vanished, files, means).await,
        None => Ok(()),
    };
    finished(name, &ended)
}

fn finished(name: NamespacedName, ended: &Result<(), Failure>) -> Done {
    if let Err((reason, _)) = ended {
        tracing::warn!(registration = %name, %reason, "cannot delete the client of an object that goes");
    }
    let next = ended.as_ref().map_or_else(|(_, next)| *next, |()| Requeue::Never);
    Done { name, report: None, next, good: ended.is_ok(), busy: None }
}

fn backoff(fault: &impl std::fmt::Display) -> Failure {
    (fault.to_string(), Requeue::Backoff)
}

async fn end_claimed(
    name: &NamespacedName,
    registration: &ClientRegistration,
    target: Result<ResolvedRegistration, String>,
    means: &Deps,
) -> Result<(), Failure> {
    let store = &means.store;
    let mut journal = store.journal(name, registration);
    let retained = registration.spec.deletion_policy == DeletionPolicy::Retain;
    if !retained {
        let entry = journal.load().await.map_err(|fault| backoff(&fault))?;
        // What was never begun needs no token service to be ended.
        if !entry.is_blank() {
            let uid = registration.metadata.uid.as_deref().unwrap_or_default();
            let consent = annotation(registration, ABANDON);
            let orphan = match home(&entry, target) {
                Ok(home) => delete(&home, uid, consent, &mut journal, means).await,
                Err(fault) => Err((fault, Requeue::Backoff)),
            };
            let orphan = match orphan {
                Ok(orphan) => orphan,
                Err(failure) => Some(give_up(&entry, uid, consent).ok_or(failure)?),
            };
            if let Some(orphan) = orphan {
                store.tell_orphan(registration, &orphan).await.map_err(|fault| backoff(&fault))?;
            } else {
                tracing::info!(registration = %name, "client deleted, for its object is being deleted");
            }
        }
        journal.clear().await.map_err(|fault| backoff(&fault))?;
    }
    store.unclaim(registration, retained).await.map_err(|fault: StoreFault| backoff(&fault))
}

/// Where the client is: as the TokenService says now, or, when that is gone or speaks of another issuer, as the journal
/// remembers.
fn home(entry: &JournalEntry, target: Result<ResolvedRegistration, String>) -> Result<RegistrationOrigin, String> {
    let remembered = entry.home.clone().filter(|home| !home.endpoint.is_empty());
    match (target, remembered) {
        (Ok(target), Some(home)) if target.issuer != home.issuer => Ok(home),
        (Ok(target), _) => Ok(RegistrationOrigin {
            issuer: target.issuer,
            endpoint: target.registration_endpoint,
            token_endpoint: target.token_endpoint,
            trust: target.ca_certificates,
        }),
        (Err(_gone), Some(home)) => Ok(home),
        (Err(fault), None) => Err(fault),
    }
}

/// The clients that people agreed to leave behind, if they did.
fn give_up(entry: &JournalEntry, uid: &str, consent: Option<&str>) -> Option<PossibleOrphan> {
    let own = entry.registration.as_ref()?;
    if consent != Some(own.client_id.as_str()) {
        return None;
    }
    let marker = Marker { software_id: uid.to_owned(), software_version: None };
    let retired = entry.retired.iter().map(|retired| retired.registration.client_id.clone());
    let mut orphan = entry.clone().abandon(&marker).possible_orphan?;
    orphan.abandoned.extend(retired);
    Some(orphan)
}

async fn end_file(vanished: &Vanished, files: &FileStore, means: &Deps) -> Result<(), Failure> {
    if vanished.deletion_policy == DeletionPolicy::Retain {
        tracing::info!(registration = %vanished.name, "the client is retained, and so are journal and credentials");
        return files.release(vanished).map_err(|fault| backoff(&fault));
    }
    let Vanished { name, uid, registration_endpoint, ca_certificates, .. } = vanished;
    let mut journal = AnyJournal::Files(files.journal(name));
    let entry = journal.load().await.map_err(|fault| backoff(&fault))?;
    let home = entry.home.clone().filter(|home| !home.endpoint.is_empty()).unwrap_or_else(|| RegistrationOrigin {
        issuer: String::new(),
        endpoint: registration_endpoint.clone(),
        token_endpoint: None,
        trust: ca_certificates.clone(),
    });
    if let Some(orphan) = delete(&home, uid, None, &mut journal, means).await? {
        tracing::warn!(registration = %name, "{}", conditions::orphan_message(&orphan));
        journal.clear().await.map_err(|fault| backoff(&fault))?;
    }
    files.forget(vanished).map_err(|fault| backoff(&fault))?;
    tracing::info!(registration = %name, "client deleted, for its object is gone");
    Ok(())
}

/// Deletes the clients at the token service, if there are some; gives back what could not be deleted.
async fn delete(
    home: &RegistrationOrigin,
    uid: &str,
    consent: Option<&str>,
    journal: &mut AnyJournal,
    means: &Deps,
) -> Result<Option<PossibleOrphan>, Failure> {
    let never = |fault: String| (fault, Requeue::Never);
    let wanted = deletion_of(home, uid, means.options).map_err(never)?;
    let client = SsrfGuardedClient::new(&home.trust, means.options).map_err(|fault| never(fault.to_string()))?;
    let keys = OperatorKeys::new(std::sync::Arc::clone(&means.clock));
    let now = seconds(means.clock.as_ref());
    // A refusal may have been lifted there since the last try.
    let occasion = ReconcileInput { consent, read_back: ReadBack::Yes, ..ReconcileInput::at(now, None) };
    let situation = ReconcileContext { occasion, transport: &client, keys: &keys };
    match reconcile(&wanted, &situation, journal).await {
        Ok(Outcome::Gone { possible_orphan, .. }) => Ok(possible_orphan),
        Ok(Outcome::Registered(_) | Outcome::Retained { .. }) => Err(never("the client was kept".to_owned())),
        Err(error) => Err((error.to_string(), next_after(&error))),
    }
}

#[cfg(test)]
mod tests {
    use portreeve_registration::{Registration, ReplacedClient, Secret};

    use super::*;

    fn entry() -> JournalEntry {
        let registration = |id: &str| Registration {
            client_id: id.to_owned(),
            client_id_issued_at: None,
            client_secret: Some(Secret::new("s".to_owned())),
            client_secret_expires_at: None,
            faults: Vec::new(),
            registration_access_token: None,
            registration_client_uri: None,
            reported: serde_json::Map::new(),
        };
        JournalEntry {
            registration: Some(registration("c2")),
            retired: vec![ReplacedClient { registration: registration("c1"), until: 1 }],
            home: Some(RegistrationOrigin {
                issuer: "https://old.test".to_owned(),
                endpoint: "https://old.test/reg".to_owned(),
                token_endpoint: None,
                trust: String::new(),
            }),
            ..JournalEntry::default()
        }
    }

    #[test]
    fn tries_are_bounded() {
        for (failures, next, stuck) in [
            (0, Requeue::Backoff, false),
            (TRIES - 2, Requeue::In(Duration::from_secs(1)), false),
            (TRIES - 1, Requeue::Backoff, true),
            (u32::MAX, Requeue::Backoff, true),
            (0, Requeue::Never, true),
            (0, Requeue::Drift(None), true),
        ] {
            assert_eq!(is_stuck(failures, next), stuck, "{failures} {next:?}");
        }
    }

    #[test]
    fn a_client_is_left_behind_only_by_its_name_and_all_are_told() {
        for consent in [None, Some("c1"), Some("")] {
            assert!(give_up(&entry(), "u", consent).is_none(), "{consent:?}");
        }
        assert_eq!(give_up(&entry(), "u", Some("c2")).unwrap().abandoned, ["c2", "c1"]);
    }

    #[test]
    fn a_token_service_that_is_gone_is_remembered() {
        assert_eq!(home(&entry(), Err("gone".to_owned())).unwrap().endpoint, "https://old.test/reg");
        assert_eq!(home(&JournalEntry::default(), Err("gone".to_owned())), Err("gone".to_owned()));
    }
}
