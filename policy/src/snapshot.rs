//! The whole compiled policy of one workload.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{NamespacedName, Route, Secret, SecretName, TokenService};

/// Everything that one proxy knows. Resources are shared, so that a thousand pods of one workload cost one copy.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Routes by the name of their ApiRoute.
    pub routes: BTreeMap<NamespacedName, Arc<Route>>,
    /// Token services that the routes refer to.
    pub token_services: BTreeMap<NamespacedName, Arc<TokenService>>,
    /// Secrets that the token services refer to.
    pub secrets: BTreeMap<SecretName, Secret>,
}

/// The kinds of resource that a snapshot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ResourceKind {
    /// [`Route`].
    Route,
    /// [`Secret`].
    Secret,
    /// [`TokenService`].
    TokenService,
}

/// Identifies one resource of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceName {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name within the kind: `namespace/name`, for secrets with `#key`.
    pub name: String,
}

// === impl ResourceKind ===

impl ResourceKind {
    /// The kind's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "Route",
            Self::Secret => "Secret",
            Self::TokenService => "TokenService",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Route, Self::Secret, Self::TokenService].into_iter().find(|kind| kind.as_str() == text)
    }
}

// === impl ResourceName ===

impl ResourceName {
    /// Names the resource made from a route.
    pub fn route(name: &NamespacedName) -> Self {
        Self { kind: ResourceKind::Route, name: name.to_string() }
    }

    /// Names the resource made from a token service.
    pub fn token_service(name: &NamespacedName) -> Self {
        Self { kind: ResourceKind::TokenService, name: name.to_string() }
    }

    /// Names a secret.
    pub fn secret(name: &SecretName) -> Self {
        Self { kind: ResourceKind::Secret, name: name.to_string() }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}
