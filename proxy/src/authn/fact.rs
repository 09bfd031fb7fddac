//! What is known of a credential's owner. No verdict: audience, scope, type and binding are compared on every use.

use std::sync::Arc;

use http::HeaderValue;
use portreeve_policy::JwtType;
use serde_json::{Map, Value};

use super::{
    JwtFault, LookupFault,
    answer::bearer_value,
    claims::{Claims, Verified},
    jwt::FoundType,
};
use crate::{clock::UnixMillis, footprint::Footprint};

/// What is known of a credential.
#[derive(Debug)]
pub struct Fact {
    claims: Verified<Claims>,
    upstream_jwt: Option<HeaderValue>,
    usable_until: UnixMillis,
    token_type: FoundType,
}

/// Why there is no fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum FactFault {
    /// The token service says that the token is not in use.
    #[error("the token is not active")]
    Inactive,
    /// The token proves nothing.
    #[error(transparent)]
    Jwt(#[from] JwtFault),
    /// No key set was ever fetched.
    #[error("the key set of the token service is not known")]
    KeysUnavailable,
    /// The token service could not be asked.
    #[error(transparent)]
    Lookup(#[from] LookupFault),
}

/// Where a fact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// Remembered.
    Hit,
    /// Found out for this request.
    Miss,
    /// Remembered beyond its time, since the token service cannot be asked.
    Stale,
}

impl Footprint for Fact {
    fn heap_bytes(&self) -> usize {
        self.claims().heap_bytes().saturating_add(self.upstream_jwt.heap_bytes())
    }
}

/// A fact and where it came from, or why there is none.
pub(super) type Found = Result<(Arc<Fact>, CacheState), FactFault>;

impl Fact {
    /// A fact that has to be found out anew from `usable_until` on.
    pub(super) fn new(
        claims: Verified<Claims>,
        token_type: FoundType,
        upstream_jwt: Option<HeaderValue>,
        usable_until: UnixMillis,
    ) -> Self {
        Self { claims, upstream_jwt, usable_until, token_type }
    }

    /// A fact about the owner of a credential that is no token. `None` when the claims are of wrong types, which ours
    /// never are.
    pub(super) fn of_claims(members: &Map<String, Value>, usable_until: UnixMillis) -> Option<Self> {
        let claims = Verified::new(Claims::read(members).ok()?);
        Some(Self { claims, upstream_jwt: None, usable_until, token_type: FoundType::Other })
    }

    /// A fact for tests of what looks at claims.
    #[cfg(test)]
    pub(crate) fn of_claims_for_tests(claims: &Value) -> Self {
        let members = claims.as_object().cloned().unwrap_or_default();
        let claims = Claims::read(&members).unwrap_or_default();
        let claims = Verified::new(claims);
        Self { claims, upstream_jwt: None, usable_until: UnixMillis(u64::MAX), token_type: FoundType::AccessToken }
    }

    /// The same facts, with the token that the upstream gets for them. `None` for a token that is no field value.
    pub(super) fn exchanged(&self, token: &str, usable_until: UnixMillis) -> Option<Self> {
        let upstream_jwt = Some(bearer_value(token).ok()?);
        Some(Self { claims: self.claims.clone(), upstream_jwt, usable_until, token_type: self.token_type })
    }

    /// The claims, verified.
    pub fn claims(&self) -> &Claims {
        self.claims.get()
    }

    /// Value for `Authorization` towards the upstream (phantom token).
    pub fn upstream_jwt(&self) -> Option<&HeaderValue> {
        self.upstream_jwt.as_ref()
    }

    /// First moment at which the fact has to be found out anew.
    pub(super) fn usable_until(&self) -> UnixMillis {
        self.usable_until
    }

    /// Whether the token is of a type that the rule takes.
    pub(super) fn is_of(&self, wanted: JwtType) -> bool {
        wanted == JwtType::Any || self.token_type == FoundType::AccessToken
    }
}
