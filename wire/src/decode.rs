//! From bytes to the policy model. Every fault names its resource, so that the others can go live.

use std::{
    collections::BTreeSet,
    io::Read,
    num::{NonZeroU16, NonZeroU64},
};

use portreeve_policy::{
    AppProtocol, ClientAddress, Cors, ForwardedHeaders, InvalidName, Millis, NamespacedName, Refusal, RefusalReason,
    ResourceKind, ResourceName, Route, Rule, RuleState, Secret, SecretName, TokenService, Upstream,
};

use crate::{Digest, MAX_PAYLOAD, proto};

/// A resource as the proxy uses it.
#[derive(Clone)]
#[expect(missing_docs, reason = "one variant a kind")]
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

/// A route that this version cannot read, as far as its hosts and matches can still be told: every rule refuses. So an
/// older proxy closes what it does not understand, instead of leaving its requests to a broader route.
pub fn refusing_route(resource: &proto::Resource) -> Option<Route> {
    let value: serde_json::Value = serde_json::from_slice(&decompress(&resource.payload).ok()?).ok()?;
    let hostnames = serde_json::from_value(value.get("hostnames")?.clone()).ok()?;
    let refuse = |rule: &serde_json::Value| {
        let refusal = Refusal {
            reason: RefusalReason::InvalidRoute,
            message: "the route is of a newer version than the proxy; upgrade the proxy".to_owned(),
        };
        Some(Rule {
            name: rule.get("name")?.as_str()?.to_owned(),
            matches: serde_json::from_value(rule.get("matches")?.clone()).ok()?,
            timeout: Millis::new(1000)?,
            upgrades: BTreeSet::new(),
            policies: Vec::new(),
            state: RuleState::Refusing(refusal),
            shadows: Vec::new(),
        })
    };
    let rules = value.get("rules")?.as_array()?.iter().map(refuse).collect::<Option<_>>()?;
    let upstream = Upstream {
        port: NonZeroU16::MIN,
        protocol: AppProtocol::Http1,
        forwarded: ForwardedHeaders::Forwarded,
        max_connections: NonZeroU64::MIN,
    };
    Some(Route {
        generation: 0,
        hostnames,
        client_address: ClientAddress::Peer,
        cors: Cors::Refuse,
        pass_headers: BTreeSet::new(),
        upstream,
        rules,
    })
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, InvalidResource> {
    let mut plain = Vec::new();
    let limit = u64::try_from(MAX_PAYLOAD).unwrap_or(u64::MAX).saturating_add(1);
    let decoder = zstd::Decoder::new(payload).map_err(|_ignored: std::io::Error| InvalidResource::NotCompressed)?;
    decoder.take(limit).read_to_end(&mut plain).map_err(|_ignored: std::io::Error| InvalidResource::NotCompressed)?;
    if plain.len() > MAX_PAYLOAD { Err(InvalidResource::TooLarge) } else { Ok(plain) }
}
