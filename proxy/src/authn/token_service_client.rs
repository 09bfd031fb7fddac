//! A token service as the request path uses it: keys ready, client ready, what is known of tokens.

use std::sync::Arc;

use portreeve_policy::{
    EndpointAccess, Introspection, Keys, NamespacedName, Secret, StaleAnswers, TokenCacheLimits, TokenExchange,
    TokenService,
};

use super::{
    CacheState, InvalidEndpoint, JwtFault, LookupFault, Origin, TokenDigest, VerificationError, VerifiedCredential,
    answer::{self, Answer, Expected},
    budget::Budget,
    introspect::{ClientEndpoint, Introspector},
    jwt::{self, FoundType, TokenType},
    key_ring::KeyRing,
    single_flight::SingleFlight,
    token_cache::{Remembered, TokenCache},
    verified_credential::Found,
};
use crate::{
    bounded_cache::Held,
    bulkhead::Place,
    clock::{SharedClock, UnixMillis},
    outbound::Network,
    peer::Peer,
};

/// Bytes of verified tokens' facts that are held with a key set at the most.
const MAX_VERIFIED_BYTES: u64 = 32 << 20;

/// One token service.
pub struct TokenServiceClient {
    /// Its name.
    pub name: NamespacedName,
    issuer: Arc<str>,
    config: TokenService,
    keys: Option<Arc<VerifiedTokens>>,
    lookup: Option<Lookup>,
    exchange: Option<Arc<ClientEndpoint>>,
    clock: SharedClock,
}

/// On whose behalf a token service is asked.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    pub(super) inactive: Arc<Budget>,
}

/// Keys, and the tokens that they verified: gone with the keys, so that a removed key stops at once.
struct VerifiedTokens {
    ring: KeyRing,
    cache: TokenCache,
    origin: Arc<Origin>,
}

#[derive(Clone)]
struct Lookup {
    introspector: Arc<Introspector>,
    scope_claim: Arc<str>,
    limits: TokenCacheLimits,
    state: Arc<LookupState>,
}

/// Outlives a snapshot while token service, client and dialect stay the same.
struct LookupState {
    cache: TokenCache,
    flights: Arc<SingleFlight<Result<Arc<VerifiedCredential>, VerificationError>>>,
    origin: Arc<Origin>,
}

impl TokenServiceClient {
    /// Makes everything that can fail, and takes over from `previous` what is still true.
    pub fn new(
        name: &NamespacedName,
        service: &TokenService,
        secret: Option<&Secret>,
        previous: Option<&Self>,
        clock: SharedClock,
        network: &Network,
    ) -> Result<Self, InvalidEndpoint> {
        let same_keys = previous.filter(|old| {
            let TokenService { issuer, scope_claim, keys, introspection: _, exchange: _ } = &old.config;
            (issuer, scope_claim, keys) == (&service.issuer, &service.scope_claim, &service.keys)
        });
        let keys = match (&service.keys, same_keys) {
            (_, Some(old)) => old.keys.clone(),
            (Keys::Known(set), None) => {
                let origin = Origin::token_service(&service.issuer, &format!("{name} by signature"));
                let cache = TokenCache::new(MAX_VERIFIED_BYTES);
                Some(Arc::new(VerifiedTokens { ring: KeyRing::new(set), cache, origin }))
            }
            (Keys::Unavailable, None) => None,
        };
        let exchange = match (&service.exchange, secret) {
            (TokenExchange::Enabled(access), Some(secret)) => {
                Some(Arc::new(ClientEndpoint::new(access, secret, network)?))
            }
            (TokenExchange::Disabled | TokenExchange::Unavailable | TokenExchange::Enabled(_), _) => None,
        };
        let without = Self {
            name: name.clone(),
            issuer: service.issuer.as_str().into(),
            config: service.clone(),
            keys,
            lookup: None,
            exchange,
            clock,
        };
        let lookup = match &service.introspection {
            Introspection::Disabled | Introspection::Unavailable => None,
            Introspection::Enabled { access, dialect, cache } => {
                let Some(secret) = secret else { return Ok(without) };
                let introspector = Introspector::new(ClientEndpoint::new(access, secret, network)?, dialect);
                let kept = previous.filter(|old| same_source(&old.config, service));
                let state = kept.and_then(|old| old.lookup.as_ref()).map(|old| Arc::clone(&old.state));
                let bytes = u64::from(cache.max_bytes.get());
                let fresh = || {
                    let asked = format!("{name} at {} as {} by {dialect:?}", access.endpoint, access.client.client_id);
                    let origin = Origin::token_service(&service.issuer, &asked);
                    Arc::new(LookupState {
                        cache: TokenCache::new(bytes),
                        flights: Arc::new(SingleFlight::new()),
                        origin,
                    })
                };
                let state = state.unwrap_or_else(fresh);
                let scope_claim = service.scope_claim.as_str().into();
                Some(Lookup { introspector: Arc::new(introspector), scope_claim, limits: *cache, state })
            }
        };
        Ok(Self { lookup, ..without })
    }

    /// `iss` of its tokens, to be kept with a decision.
    pub fn issuer_shared(&self) -> Arc<str> {
        Arc::clone(&self.issuer)
    }

    /// `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the facts of signed tokens take.
    pub(crate) fn held_of_signed(&self) -> Held {
        self.keys.as_ref().map(|keys| keys.cache.held()).unwrap_or_default()
    }

    /// What the facts of introspected tokens take.
    pub(crate) fn held_of_introspected(&self) -> Held {
        self.lookup.as_ref().map(|lookup| lookup.state.cache.held()).unwrap_or_default()
    }

    /// Facts of a signed token.
    pub fn verify(&self, token: &str, digest: TokenDigest) -> Found {
        let keys = self.keys.as_ref().ok_or(VerificationError::KeysUnavailable)?;
        let now = self.clock.now();
        if let Some(credential) = keys.cache.lookup(&digest, now) {
            return Self::reuse_signature(credential, now);
        }
        let (claims, token_type) =
            jwt::verify(token, TokenType::Any, (&self.issuer, &self.config.scope_claim), &keys.ring, now)?;
        let usable_until = claims.get().expires_at().unwrap_or(now);
        let origin = Arc::clone(&keys.origin);
        let credential = Arc::new(VerifiedCredential::new(claims, origin, token_type, None, (now, usable_until)));
        keys.cache.put_active(digest, Arc::clone(&credential));
        Ok((credential, CacheState::Miss))
    }

    /// Facts of this token that its signature proved.
    pub(super) fn cached_signature(&self, digest: &TokenDigest, now: UnixMillis) -> Option<Arc<VerifiedCredential>> {
        self.keys.as_ref()?.cache.lookup(digest, now)
    }

    /// Such facts used again: times are looked at on every use.
    pub(super) fn reuse_signature(credential: Arc<VerifiedCredential>, now: UnixMillis) -> Found {
        jwt::check_times(credential.claims(), now)?;
        Ok((credential, CacheState::Hit))
    }

    /// Facts of this token that an introspection gave.
    pub(super) fn cached_answer(&self, digest: &TokenDigest, now: UnixMillis) -> Option<Arc<VerifiedCredential>> {
        self.lookup.as_ref()?.state.cache.lookup(digest, now)
    }

    /// Such facts used again: a token whose time is over is as good as inactive.
    pub(super) fn reuse_answer(credential: Arc<VerifiedCredential>, now: UnixMillis) -> Found {
        match jwt::check_times(credential.claims(), now) {
            Ok(()) => Ok((credential, CacheState::Hit)),
            Err(_) => Err(VerificationError::Inactive),
        }
    }

    /// Where tokens of partners are exchanged.
    pub(super) fn exchange(&self) -> Option<&Arc<ClientEndpoint>> {
        self.exchange.as_ref()
    }

    /// Facts of a token that only the token service can read.
    pub(super) async fn introspect(&self, token: &str, digest: TokenDigest, client: &Asker) -> Found {
        let lookup = self.lookup.as_ref().ok_or(LookupFault::Unavailable)?;
        let now = self.clock.now();
        match lookup.state.cache.get(&digest, now) {
            Remembered::Active(credential) => return Self::reuse_answer(credential, now),
            Remembered::Inactive => return Err(VerificationError::Inactive),
            Remembered::Nothing => {}
        }
        let asked = (lookup.clone(), self.keys.clone(), self.issuer.clone(), Arc::clone(&self.clock), token.to_owned());
        let client = client.clone();
        let ask = move || {
            if client.inactive.is_spent(client.peer, now) {
                return Err(Err(LookupFault::Braked.into()));
            }
            let place = asked.0.introspector.enter(client.peer).ok_or(Err(LookupFault::Overloaded.into()))?;
            Ok(async move {
                let (lookup, keys, issuer, clock, token) = asked;
                let found = lookup.find_out(place, &token, digest, &issuer, keys.as_deref(), &clock).await;
                if found.as_ref().is_err_and(|fault| fault.is_of_the_token()) {
                    client.inactive.spend(client.peer, clock.now());
                }
                found
            })
        };
        // What disclaims itself is nobody's business to answer for.
        if jwt::disclaims(token) {
            return Err(VerificationError::Jwt(JwtFault::NotAccessToken));
        }
        let found = Arc::clone(&lookup.state.flights).join(digest, ask).await;
        match found.unwrap_or(Err(LookupFault::Interrupted.into())) {
            Ok(credential) => Ok((credential, CacheState::Miss)),
            Err(VerificationError::Lookup(fault)) if fault.is_outage() => {
                let stale = lookup.stale(&digest, self.clock.now());
                stale.map(|credential| (credential, CacheState::Stale)).ok_or(VerificationError::Lookup(fault))
            }
            Err(fault) => Err(fault),
        }
    }
}

impl Lookup {
    /// An answer whose time has run out, where the configuration lets it be used in an outage. Never beyond `exp`.
    fn stale(&self, digest: &TokenDigest, now: UnixMillis) -> Option<Arc<VerifiedCredential>> {
        let window = match self.limits.stale {
            StaleAnswers::Never => return None,
            StaleAnswers::For(window) => window.duration(),
        };
        let credential = self.state.cache.get_active(digest)?;
        let fresh_enough = now < credential.usable_until().plus(window);
        (fresh_enough && jwt::check_times(credential.claims(), now).is_ok()).then_some(credential)
    }

    async fn find_out(
        &self,
        place: Place,
        token: &str,
        digest: TokenDigest,
        issuer: &str,
        keys: Option<&VerifiedTokens>,
        clock: &SharedClock,
    ) -> Result<Arc<VerifiedCredential>, VerificationError> {
        // Lifetimes count from the question, so that a slow answer does not stretch the bound of a revocation.
        let asked_at = clock.now();
        let answer = self.introspector.ask(place, token, asked_at).await?;
        let expected = Expected {
            dialect: self.introspector.dialect(),
            issuer,
            scope_claim: &self.scope_claim,
            client_id: self.introspector.client_id(),
            keys: keys.map(|keys| &keys.ring),
            now: clock.now(),
        };
        match answer::read(&answer, &expected).map_err(LookupFault::Answer)? {
            Answer::Active(claims, upstream_jwt) => {
                let cap = asked_at.plus(self.limits.max_ttl.duration());
                // What goes upstream ends no later than its own `exp`, whatever the answer's is.
                let ends = [claims.get().expires_at(), upstream_jwt.as_ref().map(|jwt| jwt.expires_at)];
                let usable_until = ends.into_iter().flatten().fold(cap, UnixMillis::min);
                let origin = Arc::clone(&self.state.origin);
                let credential = Arc::new(VerifiedCredential::new(
                    claims,
                    origin,
                    FoundType::Other,
                    upstream_jwt,
                    (asked_at, usable_until),
                ));
                self.state.cache.put_active(digest, Arc::clone(&credential));
                Ok(credential)
            }
            Answer::Inactive => {
                self.state.cache.put_inactive(digest, asked_at.plus(self.limits.negative_ttl.duration()));
                Err(VerificationError::Inactive)
            }
            Answer::OtherToken => {
                self.state.cache.put_inactive(digest, asked_at.plus(self.limits.negative_ttl.duration()));
                Err(VerificationError::Jwt(JwtFault::NotAccessToken))
            }
        }
    }
}

/// Whether answers to the one are answers to the other: same issuer, endpoint, client, dialect and bounds. A rotated
/// client secret changes nothing of that.
fn same_source(a: &TokenService, b: &TokenService) -> bool {
    let source = |service: &TokenService| match &service.introspection {
        Introspection::Enabled { access, dialect, cache } => {
            let EndpointAccess { endpoint, client, .. } = access.as_ref();
            let names = (service.issuer.clone(), service.scope_claim.clone());
            Some((names, endpoint.clone(), dialect.clone(), client.client_id.clone(), *cache))
        }
        Introspection::Disabled | Introspection::Unavailable => None,
    };
    source(a).is_some_and(|a| source(b) == Some(a))
}
