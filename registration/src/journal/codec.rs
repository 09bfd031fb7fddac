//! The entry's form in the journal: JSON with a version. Only this file writes secrets down.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::{Intent, JournalEntry, PossibleOrphan, RegistrationOrigin};
use crate::{
    AnswerFault, ClientKey, Document, Drift, ManagementFailure, Registration, ReplacedClient, Secret, SecretExpiry,
};

const VERSION: u32 = 2;

/// The first version; it lacks what has a default below.
const OLDEST: u32 = 1;
const MAX_ENTRY: usize = 1024 * 1024;

/// Why bytes are no journal entry. It says nothing about what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// Not the JSON of an entry.
    #[error("the bytes are no journal entry")]
    Malformed,
    /// Larger than 1 MiB, the bound of a Kubernetes Secret.
    #[error("a journal entry is at most 1 MiB")]
    TooLarge,
    /// Written by another version of this crate.
    #[error("journal version {0} is not known")]
    Version(u32),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// `S` is `&str` when writing and [`Text`] when reading, so that no secret is copied into a plain string.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<S> {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intent: Option<Intent>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    registration: Option<StoredRegistration<S>>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    previous_token: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_sent: Option<Document>,
    #[serde(default)]
    known_drift: Vec<Drift>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    possible_orphan: Option<PossibleOrphan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    home: Option<RegistrationOrigin>,
    #[serde(default = "Vec::new")]
    keys: Vec<StoredKey<S>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credentials_since: Option<u64>,
    #[serde(default = "Vec::new")]
    retired: Vec<StoredRetired<S>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fulfilled_request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    obstacle: Option<ManagementFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    renewed_in: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey<S> {
    kid: String,
    public: Value,
    private: S,
    certificate: Option<String>,
    until: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRetired<S> {
    registration: StoredRegistration<S>,
    until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRegistration<S> {
    client_id: String,
    client_id_issued_at: Option<u64>,
    client_secret: Option<S>,
    /// Seconds since 1970, 0 for never, as on the wire.
    client_secret_expires_at: Option<u64>,
    faults: Vec<AnswerFault>,
    registration_access_token: Option<S>,
    registration_client_uri: Option<String>,
    reported: Document,
}

/// A secret as it is read; no other file can make one out of JSON.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text(Secret);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

fn none<T>() -> Option<T> {
    None
}

pub(super) fn encode(entry: &JournalEntry) -> Zeroizing<Vec<u8>> {
    let JournalEntry {
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
    } = entry;
    let stored = Stored {
        version: VERSION,
        intent: intent.clone(),
        registration: registration.as_ref().map(stored_registration),
        previous_token: previous_token.as_ref().map(Secret::expose),
        last_sent: last_sent.clone(),
        known_drift: known_drift.clone(),
        possible_orphan: possible_orphan.clone(),
        home: home.clone(),
        keys: keys.iter().map(stored_key).collect(),
        credentials_since: *credentials_since,
        retired: retired
            .iter()
            .map(|ReplacedClient { registration, until }| StoredRetired {
                registration: stored_registration(registration),
                until: *until,
            })
            .collect(),
        fulfilled_request: fulfilled_request.clone(),
        obstacle: obstacle.clone(),
        renewed_in: *renewed_in,
        asked: asked.clone(),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    // Writing plain values to memory cannot fail; were it to, the empty bytes would be refused on reading.
    if serde_json::to_writer(&mut *bytes, &stored).is_err() {
        bytes.clear();
    }
    bytes
}

fn stored_key(key: &ClientKey) -> StoredKey<&str> {
    let ClientKey { kid, public, private, certificate, until } = key;
    StoredKey {
        kid: kid.clone(),
        public: public.clone(),
        private: private.expose(),
        certificate: certificate.clone(),
        until: *until,
    }
}

fn stored_registration(registration: &Registration) -> StoredRegistration<&str> {
    let Registration {
        client_id,
        client_id_issued_at,
        client_secret,
        client_secret_expires_at,
        faults,
        registration_access_token,
        registration_client_uri,
        reported,
    } = registration;
    StoredRegistration {
        client_id: client_id.clone(),
        client_id_issued_at: *client_id_issued_at,
        client_secret: client_secret.as_ref().map(Secret::expose),
        client_secret_expires_at: client_secret_expires_at.map(|expiry| match expiry {
            SecretExpiry::At(at) => at,
            SecretExpiry::Never => 0,
        }),
        faults: faults.clone(),
        registration_access_token: registration_access_token.as_ref().map(Secret::expose),
        registration_client_uri: registration_client_uri.as_ref().map(Url::to_string),
        reported: reported.clone(),
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<JournalEntry, InvalidEntry> {
    if bytes.len() > MAX_ENTRY {
        return Err(InvalidEntry::TooLarge);
    }
    let Ok(Versioned { version }) = serde_json::from_slice(bytes) else { return Err(InvalidEntry::Malformed) };
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(InvalidEntry::Version(version));
    }
    let Ok(stored) = serde_json::from_slice::<Stored<Text>>(bytes) else { return Err(InvalidEntry::Malformed) };
    let Stored {
        version: _,
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
    } = stored;
    let retired = retired.into_iter().map(|StoredRetired { registration, until }| {
        Ok(ReplacedClient { registration: read_registration(registration)?, until })
    });
    let key = |StoredKey { kid, public, private: Text(private), certificate, until }: StoredKey<Text>| ClientKey {
        kid,
        public,
        private,
        certificate,
        until,
    };
    Ok(JournalEntry {
        home,
        keys: keys.into_iter().map(key).collect(),
        credentials_since,
        retired: retired.collect::<Result<_, InvalidEntry>>()?,
        fulfilled_request,
        obstacle,
        renewed_in,
        asked,
        intent,
        registration: registration.map(read_registration).transpose()?,
        previous_token: previous_token.map(|Text(secret)| secret),
        last_sent,
        known_drift,
        possible_orphan,
    })
}

fn read_registration(stored: StoredRegistration<Text>) -> Result<Registration, InvalidEntry> {
    let StoredRegistration {
        client_id,
        client_id_issued_at,
        client_secret,
        client_secret_expires_at,
        faults,
        registration_access_token,
        registration_client_uri,
        reported,
    } = stored;
    let uri = match registration_client_uri.map(|text| Url::parse(&text)).transpose() {
        Ok(uri) => uri,
        Err(_no_url) => return Err(InvalidEntry::Malformed),
    };
    Ok(Registration {
        client_id,
        client_id_issued_at,
        client_secret: client_secret.map(|Text(secret)| secret),
        client_secret_expires_at: client_secret_expires_at.map(|at| match at {
            0 => SecretExpiry::Never,
            at => SecretExpiry::At(at),
        }),
        faults,
        registration_access_token: registration_access_token.map(|Text(secret)| secret),
        registration_client_uri: uri,
        reported,
    })
}
