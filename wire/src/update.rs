//! Deltas between sets of resources.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use portreeve_policy::{ResourceKind, ResourceName, Snapshot};

use crate::{
    Digest, EncodedResource, InvalidDigest, SetDigest, encode_route, encode_secret, encode_token_service, proto,
    set_digest,
};

/// A whole snapshot, encoded. Resources that did not change since `previous` keep their bytes.
#[derive(Clone)]
pub struct ResourceSet {
    resources: BTreeMap<ResourceName, Arc<EncodedResource>>,
    digest: SetDigest,
}

/// A delta as the proxy reads it: names and digests checked, payloads not yet.
#[derive(Debug, Clone)]
pub struct Update {
    /// Revision that the update brings.
    pub revision: u64,
    /// Digest of the complete set afterwards.
    pub set_digest: SetDigest,
    /// Resources to add or replace, undecoded.
    pub upserts: Vec<(ResourceName, Digest, proto::Resource)>,
    /// Resources to forget.
    pub removals: Vec<ResourceName>,
}

/// An update of which nothing can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpdate {
    /// A digest is malformed.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    /// A kind that this proxy does not know.
    #[error("resource kind {0:?} is unknown to this version of the proxy")]
    UnknownKind(String),
}

// === impl ResourceSet ===

impl ResourceSet {
    /// Encodes a snapshot, through `encoded`, which holds what was encoded before and still is the same.
    pub fn new(snapshot: &Snapshot, encoded: &mut impl FnMut(EncodedResource) -> Arc<EncodedResource>) -> Self {
        let routes = snapshot.routes.iter().map(|(name, route)| encode_route(name, route));
        let services = snapshot.token_services.iter().map(|(name, service)| encode_token_service(name, service));
        let secrets = snapshot.secrets.iter().map(|(name, secret)| encode_secret(name, secret));
        Self::of(routes.chain(services).chain(secrets).map(encoded))
    }

    /// A set of resources that are encoded already.
    pub fn of(resources: impl Iterator<Item = Arc<EncodedResource>>) -> Self {
        let resources: BTreeMap<_, _> = resources.map(|resource| (resource.name.clone(), resource)).collect();
        let digest = set_digest(resources.iter().map(|(name, resource)| (name, resource.digest)));
        Self { resources, digest }
    }

    /// Digest of the whole set.
    pub fn digest(&self) -> SetDigest {
        self.digest
    }

    /// Digest of one resource.
    pub fn resource_digest(&self, name: &ResourceName) -> Option<Digest> {
        self.resources.get(name).map(|resource| resource.digest)
    }

    /// Names and digests.
    pub fn digests(&self) -> BTreeMap<ResourceName, Digest> {
        self.resources.iter().map(|(name, resource)| (name.clone(), resource.digest)).collect()
    }

    /// The delta that brings a proxy from what it holds to this set.
    pub fn delta(&self, held: &BTreeMap<ResourceName, Digest>, revision: u64) -> proto::Update {
        let changed =
            |(name, resource): &(&ResourceName, &Arc<EncodedResource>)| held.get(*name) != Some(&resource.digest);
        let upserts = self.resources.iter().filter(changed).map(|(_, resource)| resource.to_proto()).collect();
        let removed = held.keys().filter(|name| !self.resources.contains_key(*name));
        let id =
            |name: &ResourceName| proto::ResourceId { kind: name.kind.as_str().to_owned(), name: name.name.clone() };
        proto::Update {
            revision,
            set_digest: Bytes::copy_from_slice(self.digest.as_bytes()),
            upserts,
            removals: removed.map(id).collect(),
        }
    }
}

// === impl Update ===

impl TryFrom<proto::Update> for Update {
    type Error = InvalidUpdate;

    fn try_from(update: proto::Update) -> Result<Self, InvalidUpdate> {
        let proto::Update { revision, set_digest, upserts, removals } = update;
        let mut read = Vec::with_capacity(upserts.len());
        for resource in upserts {
            let name = resource_name(&resource.kind, &resource.name)?;
            read.push((name, Digest::try_from(resource.digest.as_ref())?, resource));
        }
        let removals: Result<_, _> = removals.iter().map(|id| resource_name(&id.kind, &id.name)).collect();
        Ok(Self { revision, set_digest: SetDigest::try_from(set_digest.as_ref())?, upserts: read, removals: removals? })
    }
}

/// Reads a kind and a name from the wire.
fn resource_name(kind: &str, name: &str) -> Result<ResourceName, InvalidUpdate> {
    let kind = ResourceKind::parse(kind).ok_or_else(|| InvalidUpdate::UnknownKind(kind.to_owned()))?;
    Ok(ResourceName { kind, name: name.to_owned() })
}

impl proto::Held {
    /// Name and digest of a resource that a proxy says it holds; `None` when they make no sense, and then it is sent
    /// anew.
    pub fn read(&self) -> Option<(ResourceName, Digest)> {
        Some((resource_name(&self.kind, &self.name).ok()?, Digest::try_from(self.digest.as_ref()).ok()?))
    }
}

#[cfg(test)]
mod tests;
