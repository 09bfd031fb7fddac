//! What must survive a crash, and the trait by which the caller keeps it (the operator: a Kubernetes Secret).
//!
//! INVARIANT: a call is made only after its [`Intent`] is stored, and its result is stored before anything else is done.

mod codec;
#[cfg(test)]
mod tests;

use std::future::Future;

use serde::{Deserialize, Serialize};

pub use self::codec::InvalidEntry;
use crate::{
    ClientKey, Document, Drift, ManagementFailure, Marker, Registration, ReplacedClient, Secret, Step, error::sanitise,
    keys::is_in,
};

/// Most identifiers of abandoned clients that are kept.
const MAX_ABANDONED: usize = 16;

/// A call that was about to be made. It is still in the journal when nobody recorded how the call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The call.
    pub step: Step,
    /// The marker that it carries.
    pub marker: Marker,
    /// Generation of the object that asked for it.
    pub generation: i64,
    /// An earlier read or update has no recorded answer either, so our registration token may be out of date.
    pub token_in_doubt: bool,
}

/// Clients of ours that may exist at the server without us knowing how to manage them. RFC 7591 has no search and no
/// idempotency key, so people have to look for the marker; Portreeve can only say that they should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PossibleOrphan {
    /// What the lost clients carry as `software_id` and `software_version`.
    pub marker: Marker,
    /// How many creates have no recorded answer; each made one client or none.
    pub unanswered_creates: u32,
    /// Clients given up by [`JournalEntry::abandon`], by client_id.
    pub abandoned: Vec<String>,
}

/// Where a client was registered, so that it can be deleted there when nobody else remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationOrigin {
    /// The issuer identifier.
    pub issuer: String,
    /// The registration endpoint.
    pub endpoint: String,
    /// The token endpoint, if it was known.
    pub token_endpoint: Option<String>,
    /// By which the caller trusts the server, e.g. certificates in PEM; may be empty.
    pub trust: String,
}

/// All that is known of one registration. The default is "nothing yet".
///
/// It holds secrets, so it has no `Debug` and no serde form; [`JournalEntry::to_bytes`] writes it for the journal alone.
#[derive(Clone, Default)]
pub struct JournalEntry {
    /// The call whose end is not recorded.
    pub intent: Option<Intent>,
    /// The client, once there is one.
    pub registration: Option<Registration>,
    /// The registration token before the present one, kept until the present one worked.
    pub previous_token: Option<Secret>,
    /// The metadata that the server last accepted from us. It is kept whole, so that comparing it is exact.
    pub last_sent: Option<Document>,
    /// Drift that another update will not cure: the server made it itself, or kept it through an update.
    pub known_drift: Vec<Drift>,
    /// Clients that may have been lost; kept until the journal is cleared or the caller takes it out.
    pub possible_orphan: Option<PossibleOrphan>,
    /// Where the client is.
    pub home: Option<RegistrationOrigin>,
    /// Keys of the client's own, newest first.
    pub keys: Vec<ClientKey>,
    /// When the present credentials were made, in seconds since 1970.
    pub credentials_since: Option<u64>,
    /// Clients that were replaced and are still to be deleted.
    pub retired: Vec<ReplacedClient>,
    /// The rotation request that was last fulfilled.
    pub fulfilled_request: Option<String>,
    /// Why the client cannot be managed, if it cannot.
    pub obstacle: Option<ManagementFailure>,
    /// The generation in which a client that was gone was registered anew by itself.
    pub renewed_in: Option<i64>,
    /// What the object asked for when the client was last brought to it, in the caller's words. A caller that grants less
    /// than is asked can tell by it whether the object was edited since.
    pub asked: Option<String>,
}

/// Whose fault a journal's failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalFault {
    /// Somebody else wrote in the meantime; nothing was stored. Load again.
    Conflict,
    /// What is stored cannot be read, e.g. it was written by a newer version.
    Corrupt,
    /// The journal may not be written; nothing was stored, and only an edit helps.
    Refused,
    /// No answer from the journal. A store may have taken effect.
    Unavailable,
}

/// A journal that failed. The detail is for people and must hold no secret; control characters are taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal ({fault:?}): {detail}")]
pub struct JournalError {
    fault: JournalFault,
    detail: String,
}

/// Keeps one [`JournalEntry`].
///
/// What must hold: `store` replaces the whole entry at once and returns only when it is durable; it refuses with
/// [`JournalFault::Conflict`] when somebody else wrote since this journal last loaded or stored (compare and swap); what
/// it keeps is readable to nobody else. One journal belongs to one registration and to one run at a time.
pub trait Journal: Send {
    /// The entry; the default one when nothing was stored yet.
    fn load(&mut self) -> impl Future<Output = Result<JournalEntry, JournalError>> + Send;

    /// Replaces the entry.
    fn store(&mut self, entry: &JournalEntry) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Removes the entry. It is no error when there is none.
    fn clear(&mut self) -> impl Future<Output = Result<(), JournalError>> + Send;
}

// === impl JournalEntry ===

impl JournalEntry {
    /// The entry as versioned JSON, secrets included: for the journal and for nothing else. The bytes are wiped when
    /// dropped.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<Vec<u8>> {
        codec::encode(self)
    }

    /// Reads what [`JournalEntry::to_bytes`] wrote. Unknown members and other versions are refused, never ignored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidEntry> {
        codec::decode(bytes)
    }

    /// Whether there is nothing to remember.
    pub fn is_blank(&self) -> bool {
        let Self {
            intent,
            registration,
            previous_token,
            last_sent,
            known_drift,
            possible_orphan,
            home,
            keys,
            credentials_since,
            retired,
            fulfilled_request,
            obstacle,
            renewed_in,
            asked,
        } = self;
        intent.is_none()
            && registration.is_none()
            && previous_token.is_none()
            && last_sent.is_none()
            && known_drift.is_empty()
            && possible_orphan.is_none()
            && home.is_none()
            && keys.is_empty()
            && credentials_since.is_none()
            && retired.is_empty()
            && fulfilled_request.is_none()
            && obstacle.is_none()
            && renewed_in.is_none()
            && asked.is_none()
    }

    /// Clients that may have been lost, a create without a recorded answer included.
    pub fn suspected(&self) -> Option<PossibleOrphan> {
        let mut suspected = self.possible_orphan.clone();
        if let Some(Intent { step: Step::Create | Step::Replace, marker, .. }) = &self.intent {
            let orphan = suspected.get_or_insert_with(|| PossibleOrphan::new(marker.clone()));
            orphan.unanswered_creates = orphan.unanswered_creates.saturating_add(1);
        }
        suspected
    }

    /// The key that the application shall use: the newest that the server knows.
    pub fn present_key(&self) -> Option<&ClientKey> {
        self.keys.iter().find(|key| self.last_sent.as_ref().is_some_and(|sent| is_in(sent, &key.kid)))
    }

    /// Gives the client up, so that the next run registers a new one: the way on after [`crate::Error::LockedOut`] and
    /// [`crate::Error::Missing`], for a caller whose policy allows it (the application gets new credentials, and a client
    /// that is alive after all stays behind). Its client_id is reported as a [`PossibleOrphan`] from then on. The caller
    /// stores the result. An entry without a client is returned as it is.
    #[must_use]
    pub fn abandon(self, marker: &Marker) -> Self {
        let Some(registration) = &self.registration else { return self };
        let mut orphan = self.suspected().unwrap_or_else(|| PossibleOrphan::new(marker.clone()));
        orphan.abandoned.push(registration.client_id.clone());
        let surplus = orphan.abandoned.len().saturating_sub(MAX_ABANDONED);
        orphan.abandoned.drain(..surplus);
        Self { possible_orphan: Some(orphan), ..self.without_client() }
    }

    /// What is left when the client is gone: reports, and clients that are still to be deleted.
    pub(crate) fn without_client(self) -> Self {
        let Self { possible_orphan, retired, fulfilled_request, renewed_in, home, .. } = self;
        let home = home.filter(|_| !retired.is_empty());
        Self { possible_orphan, home, retired, fulfilled_request, renewed_in, ..Self::default() }
    }
}

// === impl PossibleOrphan ===

impl PossibleOrphan {
    pub(crate) fn new(marker: Marker) -> Self {
        Self { marker, unanswered_creates: 0, abandoned: Vec::new() }
    }
}

// === impl JournalError ===

impl JournalError {
    /// Names the fault, with a detail such as `secrets "shop" is forbidden`.
    pub fn new(fault: JournalFault, detail: &str) -> Self {
        Self { fault, detail: sanitise(detail, 256) }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> JournalFault {
        self.fault
    }
}
