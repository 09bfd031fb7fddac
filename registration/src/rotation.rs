//! When credentials are renewed, and how long the old ones stay. Pure.
//!
//! Keys of our own are rotated by union: the new one joins the document, the old one leaves it after the overlap. The
//! standards have no way to renew a secret without ending the old one at once, so a client with a secret is replaced: a
//! second client is registered, its credentials are handed out, and the first is deleted after the overlap.

use crate::{Desired, JournalEntry, ReconcileInput, Registration, SecretExpiry, management_failure::is_unmanaged};

/// When credentials are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Seconds between two renewals; `None`: only on request, or before a secret expires.
    pub interval: Option<u64>,
    /// Seconds for which the old credentials stay good.
    pub overlap: u64,
}

/// A client whose credentials were replaced; it is deleted once nobody can still use them.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplacedClient {
    /// The client.
    pub registration: Registration,
    /// When it is to be deleted, in seconds since 1970.
    pub until: u64,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { interval: None, overlap: 24 * 60 * 60 }
    }
}

/// Whether credentials are to be renewed now. Not while earlier ones are still being retired: there are never more than
/// two sets.
pub(crate) fn is_due(desired: &Desired, occasion: &ReconcileInput<'_>, entry: &JournalEntry) -> bool {
    if !can_rotate(desired, entry) || is_retiring(entry) {
        return false;
    }
    let asked = occasion.rotation_request.is_some_and(|request| entry.fulfilled_request.as_deref() != Some(request));
    asked || next_at(desired, entry).is_some_and(|at| at <= occasion.now)
}

/// When credentials are to be renewed next, in seconds since 1970.
pub(crate) fn next_at(desired: &Desired, entry: &JournalEntry) -> Option<u64> {
    if !can_rotate(desired, entry) {
        return None;
    }
    let Rotation { interval, overlap } = desired.rotation();
    let since = entry.credentials_since.unwrap_or_default();
    let by_interval = interval.map(|interval| since.saturating_add(interval));
    let expiry = entry.registration.as_ref().and_then(|own| own.client_secret_expires_at);
    let by_expiry = match expiry {
        Some(SecretExpiry::At(at)) => {
            // With half its life left at the latest, or a short-lived secret would be renewed without end.
            let life = at.saturating_sub(since);
            Some(at.saturating_sub(overlap.min(life / 2)))
        }
        Some(SecretExpiry::Never) | None => None,
    };
    by_interval.into_iter().chain(by_expiry).min()
}

/// When something that is being retired is to go.
pub(crate) fn retires_at(entry: &JournalEntry) -> Option<u64> {
    let clients = entry.retired.iter().map(|retired| retired.until);
    clients.chain(entry.keys.iter().filter_map(|key| key.until)).min()
}

fn is_retiring(entry: &JournalEntry) -> bool {
    retires_at(entry).is_some()
}

/// Public clients and those with a certificate of somebody else's have nothing that could be renewed here; and a server
/// that takes no updates cannot be told of a new key.
fn can_rotate(desired: &Desired, entry: &JournalEntry) -> bool {
    let Some(registration) = &entry.registration else { return false };
    match desired.key_purpose() {
        Some(_) => !is_unmanaged(desired, entry, registration),
        None => registration.client_secret.is_some() && desired.uses_secret(),
    }
}
