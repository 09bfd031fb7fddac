//! From the policy model to bytes. Encoded once, the bytes are shared by every stream that needs them.

use bytes::Bytes;
use portreeve_policy::{NamespacedName, ResourceName, Route, Secret, SecretName, TokenService};

use crate::{Digest, proto};

/// A resource ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedResource {
    /// What it is.
    pub name: ResourceName,
    /// SHA-256 of the uncompressed payload.
    pub digest: Digest,
    /// zstd.
    payload: Bytes,
}

/// Encodes a route.
pub fn encode_route(name: &NamespacedName, route: &Route) -> EncodedResource {
    encode(ResourceName::route(name), &to_json(route))
}

/// Encodes a token service.
pub fn encode_token_service(name: &NamespacedName, service: &TokenService) -> EncodedResource {
    encode(ResourceName::token_service(name), &to_json(service))
}

/// Encodes a secret: the one place where its bytes are written, and only to the stream of a proven pod.
pub fn encode_secret(name: &SecretName, secret: &Secret) -> EncodedResource {
    encode(ResourceName::secret(name), secret.expose())
}

impl EncodedResource {
    /// The message of the protocol; the payload is shared, not copied.
    pub fn to_proto(&self) -> proto::Resource {
        proto::Resource {
            kind: self.name.kind.as_str().to_owned(),
            name: self.name.name.clone(),
            digest: Bytes::copy_from_slice(self.digest.as_bytes()),
            payload: self.payload.clone(),
        }
    }
}

/// The model has string keys and no value that JSON lacks, so this cannot fail; were it to, the empty payload would be
/// refused by every proxy, which closes the resource and says so.
fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn encode(name: ResourceName, payload: &[u8]) -> EncodedResource {
    // Compression into memory cannot fail either, and is caught in the same way.
    let compressed = zstd::encode_all(payload, 3).unwrap_or_default();
    EncodedResource { name, digest: Digest::of(payload), payload: compressed.into() }
}
