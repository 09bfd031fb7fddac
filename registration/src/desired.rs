//! What the caller wants: the CRD side of a plan.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Document, Endpoint, JournalEntry, KeyPurpose, Rotation, Secret, ValidMetadata, keys::with_keys};

/// What shall become of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The client is deleted at the token service and the journal forgotten.
    Delete,
    /// The client is wanted.
    Keep,
    /// The object goes, the client stays; nothing is called, and the journal keeps what is needed to manage it later.
    Retain,
}

/// What is done about drift that somebody made at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriftPolicy {
    /// Our metadata is sent again.
    Correct,
    /// It is only told.
    Report,
}

/// How a client of ours can be found at the server by people, should a create be answered to nobody: `software_id` and
/// `software_version` (RFC 7591 section 2) as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// `software_id` as sent.
    pub software_id: String,
    /// `software_version` as sent, if it is.
    pub software_version: Option<String>,
}

/// One registration as it shall be.
///
/// The marker is worked out here: when the user gave no `software_id`, it is the object's uid; when the user gave one
/// but no `software_version`, the uid is the version. Only a user who sets both gives the uid up.
#[derive(Clone)]
pub struct Desired {
    endpoint: Endpoint,
    document: Document,
    marker: Marker,
    /// The member that was added for the marker's sake; it is no drift when the server drops it.
    added: Option<&'static str>,
    generation: i64,
    deletion: Deletion,
    issuer: String,
    token_endpoint: Option<String>,
    trust: String,
    software_statement: Option<Secret>,
    key_purpose: Option<KeyPurpose>,
    rotation: Rotation,
    drift_policy: DriftPolicy,
}

// === impl Desired ===

impl Desired {
    /// Joins metadata and place. `uid` is stable over the object's life and not used again (Kubernetes' `metadata.uid`);
    /// `generation` is only written down, so that an orphan can be told by it.
    pub fn new(metadata: &ValidMetadata, endpoint: Endpoint, uid: &str, generation: i64, deletion: Deletion) -> Self {
        let mut document = metadata.document().clone();
        let text = |document: &Document, member: &str| document.get(member).and_then(Value::as_str).map(str::to_owned);
        let added = match (text(&document, "software_id"), text(&document, "software_version")) {
            (None, _) => Some("software_id"),
            (Some(_), None) => Some("software_version"),
            (Some(_), Some(_)) => None,
        };
        if let Some(member) = added {
            document.insert(member.to_owned(), Value::String(uid.to_owned()));
        }
        let marker = Marker {
            software_id: text(&document, "software_id").unwrap_or_else(|| uid.to_owned()),
            software_version: text(&document, "software_version"),
        };
        Self {
            endpoint,
            document,
            marker,
            added,
            generation,
            deletion,
            issuer: String::new(),
            token_endpoint: None,
            trust: String::new(),
            software_statement: None,
            key_purpose: metadata.key_purpose(),
            rotation: Rotation::default(),
            drift_policy: DriftPolicy::Correct,
        }
    }

    /// Says whose endpoint it is: the issuer, its token endpoint (for probing a client that may be gone), and any text by
    /// which the caller trusts that server. The journal keeps them, so that the client can be deleted when nobody else
    /// remembers where it is, and so that another issuer is noticed.
    #[must_use]
    pub fn at_issuer(self, issuer: &str, token_endpoint: Option<&str>, trust: &str) -> Self {
        let token_endpoint = token_endpoint.map(str::to_owned);
        Self { issuer: issuer.to_owned(), token_endpoint, trust: trust.to_owned(), ..self }
    }

    /// Adds a software statement (RFC 7591 section 2.3) to each create and update; what it says wins over the metadata.
    #[must_use]
    pub fn with_software_statement(self, statement: Secret) -> Self {
        Self { software_statement: Some(statement), ..self }
    }

    /// Says when credentials are renewed.
    #[must_use]
    pub fn with_rotation(self, rotation: Rotation) -> Self {
        Self { rotation, ..self }
    }

    /// Says what is done about drift that somebody made at the server.
    #[must_use]
    pub fn with_drift_policy(self, drift_policy: DriftPolicy) -> Self {
        Self { drift_policy, ..self }
    }

    /// Where the client is registered.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The metadata that is sent, marker included.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The metadata with the client's own keys.
    pub(crate) fn document_with(&self, entry: &JournalEntry) -> Document {
        let document = self.document.clone();
        if self.key_purpose.is_some() { with_keys(document, &entry.keys) } else { document }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn token_endpoint(&self) -> Option<&str> {
        self.token_endpoint.as_deref()
    }

    pub(crate) fn trust(&self) -> &str {
        &self.trust
    }

    pub(crate) fn software_statement(&self) -> Option<&Secret> {
        self.software_statement.as_ref()
    }

    pub(crate) fn key_purpose(&self) -> Option<KeyPurpose> {
        self.key_purpose
    }

    pub(crate) fn rotation(&self) -> Rotation {
        self.rotation
    }

    pub(crate) fn drift_policy(&self) -> DriftPolicy {
        self.drift_policy
    }

    /// How the client authenticates, e.g. `client_secret_basic`.
    pub(crate) fn method(&self) -> Option<&str> {
        self.document.get("token_endpoint_auth_method").and_then(Value::as_str)
    }

    /// Whether it authenticates with a secret that the server makes.
    pub(crate) fn uses_secret(&self) -> bool {
        self.method().is_some_and(|method| method.starts_with("client_secret_"))
    }

    /// How a lost client could be found.
    pub fn marker(&self) -> &Marker {
        &self.marker
    }

    /// Generation of the object that this was read from.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// What shall become of the client.
    pub fn deletion(&self) -> Deletion {
        self.deletion
    }

    /// Whether somebody asked for the member, and it was not added as a marker.
    pub(crate) fn is_asked(&self, member: &str) -> bool {
        Some(member) != self.added
    }
}

#[cfg(test)]
mod tests {
    use super::Marker;
    use crate::tests::desired_with;

    #[test]
    fn marks_the_client_with_the_uid_where_the_user_left_room() {
        let marker = |id: &str, version: Option<&str>| Marker {
            software_id: id.to_owned(),
            software_version: version.map(str::to_owned),
        };
        for (id, version, expected) in [
            (None, None, marker("uid-1", None)),
            (None, Some("2.1"), marker("uid-1", Some("2.1"))),
            (Some("shop"), None, marker("shop", Some("uid-1"))),
            (Some("shop"), Some("2.1"), marker("shop", Some("2.1"))),
        ] {
            let desired = desired_with(|metadata| {
                metadata.software_id = id.map(str::to_owned);
                metadata.software_version = version.map(str::to_owned);
            });
            assert_eq!(*desired.marker(), expected);
        }
    }
}
