//! What the caller wants: the CRD side of a plan.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Document, Endpoint, ValidMetadata};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    endpoint: Endpoint,
    document: Document,
    marker: Marker,
    /// The member that was added for the marker's sake; it is no drift when the server drops it.
    added: Option<&'static str>,
    generation: i64,
    deletion: Deletion,
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
        Self { endpoint, document, marker, added, generation, deletion }
    }

    /// Where the client is registered.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The metadata that is sent, marker included.
    pub fn document(&self) -> &Document {
        &self.document
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

    /// The members that somebody asked for, without one that was added as a marker.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.document.iter().filter(|(member, _)| Some(member.as_str()) != self.added)
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
