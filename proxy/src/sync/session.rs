//! What the proxy holds, and what an update makes of it. Pure: no stream, no clock, no file.
//!
//! INVARIANTS
//! - A refused update changes nothing.
//! - The revision only rises.
//! - A resource that is not understood keeps its last good form; a route without one refuses what it matches.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use portreeve_policy::{ResourceKind, ResourceName, Snapshot};
use portreeve_wire::{DecodedResource, Digest, Update, decode_resource, proto, refusing_route, set_digest};

use crate::pipeline::Rejection;

/// The set of resources that the proxy holds.
#[derive(Default)]
pub struct Session {
    revision: u64,
    held: BTreeMap<ResourceName, (Digest, proto::Resource)>,
    snapshot: Snapshot,
    /// Held by name, but not in this form.
    rejected: BTreeMap<ResourceName, String>,
}

/// Nothing of an update was taken; says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

impl Session {
    /// Takes up what an earlier process stored.
    pub fn restore(stored: proto::StoredSnapshot) -> Result<Self, Refused> {
        let mut session = Self::default();
        let update = proto::Update {
            revision: stored.revision,
            set_digest: Bytes::new(),
            upserts: stored.resources,
            removals: Vec::new(),
        };
        let digest = |update: &proto::Update| -> Result<Bytes, Refused> {
            let mut held = BTreeMap::new();
            for resource in &update.upserts {
                let id = proto::Held {
                    kind: resource.kind.clone(),
                    name: resource.name.clone(),
                    digest: resource.digest.clone(),
                };
                held.extend(id.read());
            }
            let digest = set_digest(held.iter().map(|(name, digest)| (name, *digest)));
            Ok(Bytes::copy_from_slice(digest.as_bytes()))
        };
        let set_digest = digest(&update)?;
        session.apply(proto::Update { set_digest, ..update })?;
        Ok(session)
    }

    /// Revision of the last update that was taken.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What is to run.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Resources that are not understood.
    pub fn rejections(&self) -> Vec<Rejection> {
        let rejection = |(resource, reason): (&ResourceName, &String)| Rejection {
            resource: resource.clone(),
            reason: reason.clone(),
        };
        self.rejected.iter().map(rejection).collect()
    }

    /// What a new stream is told. What was rejected counts as not held, so that it is sent again.
    pub fn hello(&mut self) -> Vec<proto::Held> {
        for name in std::mem::take(&mut self.rejected).into_keys() {
            self.held.remove(&name);
        }
        let held = |(name, (digest, _)): (&ResourceName, &(Digest, proto::Resource))| proto::Held {
            kind: name.kind.as_str().to_owned(),
            name: name.name.clone(),
            digest: Bytes::copy_from_slice(digest.as_bytes()),
        };
        self.held.iter().map(held).collect()
    }

    /// What is to be stored for the next process.
    pub fn to_stored(&self, saved_at: u64) -> proto::StoredSnapshot {
        let resources = self.held.values().map(|(_, resource)| resource.clone()).collect();
        proto::StoredSnapshot { revision: self.revision, saved_at, resources }
    }

    /// Takes an update in, or nothing of it.
    pub fn apply(&mut self, update: proto::Update) -> Result<(), Refused> {
        let update = Update::try_from(update).map_err(|fault| Refused(fault.to_string()))?;
        if update.revision <= self.revision {
            let message = format!("revision {} does not rise above {}", update.revision, self.revision);
            return Err(Refused(message));
        }
        let mut held = self.held.clone();
        for name in &update.removals {
            held.remove(name);
        }
        for (name, digest, resource) in &update.upserts {
            held.insert(name.clone(), (*digest, resource.clone()));
        }
        if set_digest(held.iter().map(|(name, (digest, _))| (name, *digest))) != update.set_digest {
            return Err(Refused("the resulting set does not have the stated digest".to_owned()));
        }
        self.held = held;
        self.revision = update.revision;
        for name in &update.removals {
            self.forget(name);
        }
        for (name, _, resource) in &update.upserts {
            self.take(name, resource);
        }
        Ok(())
    }

    fn forget(&mut self, name: &ResourceName) {
        self.rejected.remove(name);
        match name.kind {
            ResourceKind::Route => self.snapshot.routes.retain(|held, _| held.to_string() != name.name),
            ResourceKind::Secret => self.snapshot.secrets.retain(|held, _| held.to_string() != name.name),
            ResourceKind::TokenService => self.snapshot.token_services.retain(|held, _| held.to_string() != name.name),
        }
    }

    fn take(&mut self, name: &ResourceName, resource: &proto::Resource) {
        match decode_resource(name, resource) {
            Ok(decoded) => {
                self.rejected.remove(name);
                match decoded {
                    DecodedResource::Route(name, route) => drop(self.snapshot.routes.insert(name, Arc::new(route))),
                    DecodedResource::Secret(name, secret) => drop(self.snapshot.secrets.insert(name, secret)),
                    DecodedResource::TokenService(name, service) => {
                        self.snapshot.token_services.insert(name, Arc::new(service));
                    }
                }
            }
            Err(fault) => {
                self.rejected.insert(name.clone(), fault.to_string());
                if let (ResourceKind::Route, Ok(name)) = (name.kind, name.name.parse())
                    && !self.snapshot.routes.contains_key(&name)
                    && let Some(route) = refusing_route(resource)
                {
                    self.snapshot.routes.insert(name, Arc::new(route));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
