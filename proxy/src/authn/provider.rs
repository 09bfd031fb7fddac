//! A token service as the request path uses it: keys ready, client ready, what is known of tokens.

use std::sync::Arc;

use http::HeaderValue;
use portreeve_policy::{Introspection, Keys, NamespacedName, Secret, TokenCacheLimits, TokenService};

use super::{
    InvalidEndpoint, JwtFault, LookupFault, TokenDigest,
    answer::{self, Answer},
    claims::{Claims, Verified},
    flight::Flights,
    introspect::Introspector,
    jwt::{self, TokenType},
    key_ring::KeyRing,
    token_cache::{Remembered, TokenCache},
};
use crate::clock::{SharedClock, UnixMillis};

/// Most verified tokens that are remembered with a key set.
const MAX_VERIFIED: usize = 65_536;

/// What is known of a token. No verdict: audience and scope are compared on every use.
#[derive(Debug)]
pub struct Fact {
    claims: Verified<Claims>,
    upstream_jwt: Option<HeaderValue>,
    usable_until: UnixMillis,
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
}

/// One token service.
pub struct Authority {
    /// Its name.
    pub name: NamespacedName,
    issuer: String,
    config: TokenService,
    keys: Option<Arc<VerifiedTokens>>,
    lookup: Option<Lookup>,
    clock: SharedClock,
}

/// Keys, and the tokens that they verified: gone with the keys, so that a removed key stops at once.
struct VerifiedTokens {
    ring: KeyRing,
    cache: TokenCache,
}

#[derive(Clone)]
struct Lookup {
    introspector: Arc<Introspector>,
    limits: TokenCacheLimits,
    state: Arc<LookupState>,
}

/// Outlives a snapshot while token service, client and dialect stay the same.
struct LookupState {
    cache: TokenCache,
    flights: Arc<Flights<Result<Arc<Fact>, FactFault>>>,
}

type Found = Result<(Arc<Fact>, CacheState), FactFault>;

impl Fact {
    /// The claims, verified.
    pub fn claims(&self) -> &Claims {
        self.claims.get()
    }

    /// A fact for tests of what looks at claims.
    #[cfg(test)]
    pub(crate) fn of_claims_for_tests(claims: &serde_json::Value) -> Self {
        let members = claims.as_object().cloned().unwrap_or_default();
        let claims = Claims::read(&members, claims.to_string().as_bytes()).unwrap_or_default();
        Self { claims: Verified::new(claims), upstream_jwt: None, usable_until: UnixMillis(u64::MAX) }
    }

    /// Value for `Authorization` towards the upstream (phantom token).
    pub fn upstream_jwt(&self) -> Option<&HeaderValue> {
        self.upstream_jwt.as_ref()
    }

    /// First moment at which the fact has to be found out anew.
    pub(super) fn usable_until(&self) -> UnixMillis {
        self.usable_until
    }
}

impl Authority {
    /// Makes everything that can fail, and takes over from `previous` what is still true.
    pub fn new(
        name: &NamespacedName,
        service: &TokenService,
        secret: Option<&Secret>,
        previous: Option<&Self>,
        clock: SharedClock,
    ) -> Result<Self, InvalidEndpoint> {
        let same_keys = previous.filter(|old| old.config.keys == service.keys && old.issuer == service.issuer);
        let keys = match (&service.keys, same_keys) {
            (_, Some(old)) => old.keys.clone(),
            (Keys::Known(set), None) => {
                Some(Arc::new(VerifiedTokens { ring: KeyRing::new(set), cache: TokenCache::new(MAX_VERIFIED) }))
            }
            (Keys::Unavailable, None) => None,
        };
        let lookup = match &service.introspection {
            Introspection::Disabled | Introspection::Unavailable => None,
            Introspection::Enabled { endpoint, dialect, client, ca_certificates, addresses, timeout, cache } => {
                let Some(secret) = secret else { return Ok(Self::without_lookup(name, service, keys, clock)) };
                let trust = (ca_certificates.as_str(), *addresses);
                let introspector = Introspector::new(endpoint, client, secret, trust, *timeout, *dialect)?;
                let kept = previous.filter(|old| same_source(&old.config, service));
                let state = kept.and_then(|old| old.lookup.as_ref()).map(|old| Arc::clone(&old.state));
                let entries = usize::try_from(cache.max_entries.get()).unwrap_or(usize::MAX);
                let fresh =
                    || Arc::new(LookupState { cache: TokenCache::new(entries), flights: Arc::new(Flights::new()) });
                let state = state.unwrap_or_else(fresh);
                Some(Lookup { introspector: Arc::new(introspector), limits: *cache, state })
            }
        };
        Ok(Self { lookup, ..Self::without_lookup(name, service, keys, clock) })
    }

    fn without_lookup(
        name: &NamespacedName,
        service: &TokenService,
        keys: Option<Arc<VerifiedTokens>>,
        clock: SharedClock,
    ) -> Self {
        Self { name: name.clone(), issuer: service.issuer.clone(), config: service.clone(), keys, lookup: None, clock }
    }

    /// `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Facts held of tokens, for metrics.
    pub fn cached_tokens(&self) -> usize {
        let verified = self.keys.as_ref().map_or(0, |keys| keys.cache.len());
        verified + self.lookup.as_ref().map_or(0, |lookup| lookup.state.cache.len())
    }

    /// Facts of a signed token.
    pub fn verify(&self, token: &str, digest: TokenDigest) -> Found {
        let keys = self.keys.as_ref().ok_or(FactFault::KeysUnavailable)?;
        let now = self.clock.now();
        if let Remembered::Active(fact) = keys.cache.get(&digest, now) {
            jwt::check_times(fact.claims(), now)?;
            return Ok((fact, CacheState::Hit));
        }
        let claims = jwt::verify(token, TokenType::AccessToken, &self.issuer, &keys.ring, now)?;
        let usable_until = claims.get().expires_at().unwrap_or(now);
        let fact = Arc::new(Fact { claims, upstream_jwt: None, usable_until });
        keys.cache.put_active(digest, Arc::clone(&fact));
        Ok((fact, CacheState::Miss))
    }

    /// Facts of a token that only the token service can read.
    pub async fn introspect(&self, token: &str, digest: TokenDigest) -> Found {
        let lookup = self.lookup.as_ref().ok_or(LookupFault::Unavailable)?;
        let now = self.clock.now();
        match lookup.state.cache.get(&digest, now) {
            Remembered::Active(fact) => {
                if jwt::check_times(fact.claims(), now).is_err() {
                    return Err(FactFault::Inactive);
                }
                return Ok((fact, CacheState::Hit));
            }
            Remembered::Inactive => return Err(FactFault::Inactive),
            Remembered::Nothing => {}
        }
        let asked = (lookup.clone(), self.keys.clone(), self.issuer.clone(), Arc::clone(&self.clock), token.to_owned());
        let ask = move || async move {
            let (lookup, keys, issuer, clock, token) = asked;
            lookup.find_out(&token, digest, &issuer, keys.as_deref(), &clock).await
        };
        let fact = Arc::clone(&lookup.state.flights).join(digest, ask).await;
        fact.unwrap_or(Err(LookupFault::Interrupted.into())).map(|fact| (fact, CacheState::Miss))
    }
}

impl Lookup {
    async fn find_out(
        &self,
        token: &str,
        digest: TokenDigest,
        issuer: &str,
        keys: Option<&VerifiedTokens>,
        clock: &SharedClock,
    ) -> Result<Arc<Fact>, FactFault> {
        // Lifetimes count from the question, so that a slow answer does not stretch the bound of a revocation.
        let asked_at = clock.now();
        let answer = self.introspector.ask(token).await?;
        let read = answer::read(&answer, self.introspector.dialect(), issuer, keys.map(|keys| &keys.ring), clock.now());
        match read.map_err(LookupFault::Answer)? {
            Answer::Active(claims, upstream_jwt) => {
                let cap = asked_at.plus(self.limits.max_ttl.duration());
                let usable_until = claims.get().expires_at().map_or(cap, |expiry| expiry.min(cap));
                let fact = Arc::new(Fact { claims, upstream_jwt, usable_until });
                self.state.cache.put_active(digest, Arc::clone(&fact));
                Ok(fact)
            }
            Answer::Inactive => {
                self.state.cache.put_inactive(digest, asked_at.plus(self.limits.negative_ttl.duration()));
                Err(FactFault::Inactive)
            }
        }
    }
}

/// Whether answers to the one are answers to the other: same issuer, endpoint, client, dialect and bounds. A rotated
/// client secret changes nothing of that.
fn same_source(a: &TokenService, b: &TokenService) -> bool {
    let source = |service: &TokenService| match &service.introspection {
        Introspection::Enabled { endpoint, dialect, client, cache, .. } => {
            Some((service.issuer.clone(), endpoint.clone(), *dialect, client.client_id.clone(), *cache))
        }
        Introspection::Disabled | Introspection::Unavailable => None,
    };
    source(a).is_some_and(|a| source(b) == Some(a))
}
