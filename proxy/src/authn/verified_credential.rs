//! What is known of a credential's owner. No verdict: audience, scope, type and binding are compared on every use.

use std::sync::Arc;

use http::HeaderValue;
use portreeve_policy::{JwtType, SecretName};
use serde_json::{Map, Value};

use super::{
    AnswerFault, JwtFault, LookupFault,
    answer::{UpstreamJwt, bearer_value},
    claims::{Claims, Verified},
    jwt::FoundType,
};
use crate::{clock::UnixMillis, heap_size::HeapSize};

/// What is known of a credential.
#[derive(Debug)]
pub struct VerifiedCredential {
    claims: Verified<Claims>,
    origin: Arc<Origin>,
    upstream_jwt: Option<UpstreamJwt>,
    /// When it was found out: a clock that was ahead of it and is right again does not make it last longer (B7).
    found_at: UnixMillis,
    usable_until: UnixMillis,
    token_type: FoundType,
}

/// Who vouches for a fact. Never a claim: what a credential says of its origin is only what its signer says.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    authority: Box<str>,
    source: Box<str>,
}

/// Why there is no fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum VerificationError {
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

impl VerificationError {
    /// Whether the token brought it about, and another token would have fared otherwise.
    pub(super) fn is_of_the_token(self) -> bool {
        use LookupFault::{Answer, TooLarge};
        match self {
            Self::Inactive
            | Self::Jwt(_)
            | Self::Lookup(Answer(AnswerFault::Malformed | AnswerFault::Token(_)) | TooLarge) => true,
            Self::KeysUnavailable | Self::Lookup(_) => false,
        }
    }
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

impl Origin {
    /// A token service of this issuer; `source` tells apart who was asked, as whom, and how.
    pub(crate) fn token_service(issuer: &str, source: &str) -> Arc<Self> {
        Arc::new(Self { authority: issuer.into(), source: source.into() })
    }

    /// Credentials of a kind that are held in one place: `basic:shop/users/htpasswd`. No issuer is spelled like that, for
    /// an issuer is an http or https URL.
    pub(crate) fn held(kind: &str, place: &str) -> Arc<Self> {
        let name: Box<str> = if place.is_empty() { kind.into() } else { format!("{kind}:{place}").into() };
        Arc::new(Self { authority: name.clone(), source: name })
    }

    /// Names the verified authority: the issuer of a token service, or kind and Secret. Holds no `#`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Tells apart everything that facts are found out from.
    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

/// A Secret's place in the name of an authority.
pub(super) fn place(secret: &SecretName) -> String {
    format!("{}/{}", secret.object(), secret.key())
}

impl HeapSize for VerifiedCredential {
    fn heap_bytes(&self) -> usize {
        let jwt = self.upstream_jwt.as_ref().map_or(0, |jwt| jwt.value.heap_bytes());
        self.claims().heap_bytes().saturating_add(jwt)
    }
}

/// A fact and where it came from, or why there is none.
pub(super) type Found = Result<(Arc<VerifiedCredential>, CacheState), VerificationError>;

impl VerifiedCredential {
    /// A fact that was found out at the first of two moments, and has to be found out anew from the second on.
    pub(super) fn new(
        claims: Verified<Claims>,
        origin: Arc<Origin>,
        token_type: FoundType,
        upstream_jwt: Option<UpstreamJwt>,
        (found_at, usable_until): (UnixMillis, UnixMillis),
    ) -> Self {
        Self { claims, origin, upstream_jwt, found_at, usable_until, token_type }
    }

    /// Whether it may be used at this moment without being found out anew.
    pub(super) fn is_usable(&self, now: UnixMillis) -> bool {
        self.found_at <= now && now < self.usable_until
    }

    /// A fact about the owner of a credential that is no token. `None` when the claims are of wrong types, which ours
    /// never are.
    pub(crate) fn of_claims(
        members: &Map<String, Value>,
        origin: &Arc<Origin>,
        usable_until: UnixMillis,
    ) -> Option<Self> {
        let claims = Verified::new(Claims::read(members).ok()?);
        let origin = Arc::clone(origin);
        let found_at = UnixMillis(0);
        Some(Self { claims, origin, upstream_jwt: None, found_at, usable_until, token_type: FoundType::Other })
    }

    /// A fact for tests of what looks at claims.
    #[cfg(test)]
    pub(crate) fn of_claims_for_tests(claims: &Value) -> Self {
        // Shared, as it is by all facts of a token service.
        static ORIGINS: std::sync::Mutex<std::collections::BTreeMap<String, Arc<Origin>>> =
            std::sync::Mutex::new(std::collections::BTreeMap::new());
        let members = claims.as_object().cloned().unwrap_or_default();
        let claims = Claims::read(&members).unwrap_or_default();
        let issuer = claims.issuer().unwrap_or_default().to_owned();
        let origin = match ORIGINS.lock() {
            Ok(mut held) => {
                let make = || Origin::token_service(&issuer, "test");
                Arc::clone(held.entry(issuer.clone()).or_insert_with(make))
            }
            Err(_) => Origin::token_service(&issuer, "test"),
        };
        let claims = Verified::new(claims);
        let (found_at, usable_until) = (UnixMillis(0), UnixMillis(u64::MAX));
        Self { claims, origin, upstream_jwt: None, found_at, usable_until, token_type: FoundType::AccessToken }
    }

    /// The same facts, with the token that the upstream gets for them. `None` for a token that is no field value.
    pub(super) fn exchanged(&self, token: &str, (found_at, usable_until): (UnixMillis, UnixMillis)) -> Option<Self> {
        let expires_at = self.claims().expires_at().unwrap_or(UnixMillis(u64::MAX));
        let upstream_jwt = Some(UpstreamJwt { value: bearer_value(token).ok()?, expires_at });
        let (claims, origin) = (self.claims.clone(), Arc::clone(&self.origin));
        Some(Self { claims, origin, upstream_jwt, found_at, usable_until, token_type: self.token_type })
    }

    /// The claims, verified.
    pub fn claims(&self) -> &Claims {
        self.claims.get()
    }

    /// Who vouches for them.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Value for `Authorization` towards the upstream (phantom token), as long as it counts itself.
    pub fn upstream_jwt(&self, now: UnixMillis) -> Option<&HeaderValue> {
        self.upstream_jwt.as_ref().filter(|jwt| now < jwt.expires_at).map(|jwt| &jwt.value)
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
