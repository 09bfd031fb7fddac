//! From bytes to the policy model. Every fault names its resource, so that the others can go live.

use std::io::Read;

use portreeve_policy::{
    InvalidName, NamespacedName, ResourceKind, ResourceName, Route, Secret, SecretName, TokenService,
};

use crate::{Digest, MAX_PAYLOAD, proto};

/// A resource as the proxy uses it.
#[derive(Clone)]
#[expect(missing_docs, reason = "one variant a kind")]
#[expect(clippy::large_enum_variant, reason = "lives for one loop turn")]
pub enum DecodedResource {
    Route(NamespacedName, Route),
    Secret(SecretName, Secret),
    TokenService(NamespacedName, TokenService),
}

/// Why a resource is not understood.
#[derive(Debug, thiserror::Error)]
pub enum InvalidResource {
    /// The payload is not what its digest says.
    #[error("the payload does not have the stated digest")]
    DigestMismatch,
    /// Not of the model that this proxy knows; an older proxy refuses what it does not understand.
    #[error("not understood by this version of the proxy: {0}")]
    Model(#[from] serde_json::Error),
    /// The name does not fit the kind.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Bad compression.
    #[error("the payload is not zstd")]
    NotCompressed,
    /// More than [`MAX_PAYLOAD`].
    #[error("the payload is larger than {MAX_PAYLOAD} bytes")]
    TooLarge,
}

/// Decodes one resource, whose name has been read already.
pub fn decode_resource(name: &ResourceName, resource: &proto::Resource) -> Result<DecodedResource, InvalidResource> {
    let payload = decompress(&resource.payload)?;
    if Digest::of(&payload).as_bytes().as_slice() != resource.digest.as_ref() {
        return Err(InvalidResource::DigestMismatch);
    }
    Ok(match name.kind {
        ResourceKind::Route => DecodedResource::Route(name.name.parse()?, serde_json::from_slice(&payload)?),
        ResourceKind::Secret => DecodedResource::Secret(name.name.clone().try_into()?, Secret::new(payload)),
        ResourceKind::TokenService => {
            DecodedResource::TokenService(name.name.parse()?, serde_json::from_slice(&payload)?)
        }
    })
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, InvalidResource> {
    let mut plain = Vec::new();
    let limit = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX).saturating_add(1);
    let decoder = zstd::Decoder::new(payload).map_err(|_: std::io::Error| InvalidResource::NotCompressed)?;
    decoder.take(limit).read_to_end(&mut plain).map_err(|_: std::io::Error| InvalidResource::NotCompressed)?;
    if plain.len() > MAX_PAYLOAD { Err(InvalidResource::TooLarge) } else { Ok(plain) }
}
