//! Tokens that the gateway mints for the upstream: one for each credential, not one for each request.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use portreeve_policy::{ClaimSource, KeySet, MintRule, Secret};
use serde_json::{Map, Value};

use super::{
    Fact, TokenDigest,
    answer::bearer_value,
    signer::{InvalidSigningKey, Signer, fresh_id},
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    clock::UnixMillis,
    footprint::Footprint,
};

/// Mints by one rule. Outlives a snapshot while the rule and its key stay the same.
pub struct Minter {
    rule: MintRule,
    key: Secret,
    signer: Signer,
    minted: BoundedCache<TokenDigest, Arc<Minted>>,
}

/// A minted token, and when the next one is due.
struct Minted {
    value: HeaderValue,
    renew_at: UnixMillis,
}

/// Bytes of minted tokens that one rule holds at the most.
const MAX_BYTES: u64 = 16 << 20;

impl Footprint for Minted {
    fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }
}

impl Minter {
    /// A minter, or the one of before when nothing changed.
    pub(super) fn new(rule: &MintRule, key: &Secret, previous: &[Arc<Self>]) -> Result<Arc<Self>, InvalidSigningKey> {
        if let Some(held) = previous.iter().find(|held| held.rule == *rule && held.key == *key) {
            return Ok(Arc::clone(held));
        }
        let signer = Signer::from_pem(key)?;
        Ok(Arc::new(Self { rule: rule.clone(), key: key.clone(), signer, minted: BoundedCache::new(MAX_BYTES) }))
    }

    /// Public keys with which what it mints can be verified.
    pub fn published(&self) -> &KeySet {
        &self.rule.published
    }

    /// What its memory takes.
    pub(crate) fn held(&self) -> Held {
        self.minted.held()
    }

    /// Value for Authorization. `None` when nothing can be signed.
    pub fn token_for(&self, digest: TokenDigest, fact: &Fact, now: UnixMillis) -> Option<HeaderValue> {
        if let Some(held) = self.minted.get(&digest)
            && now < held.renew_at
        {
            return Some(held.value.clone());
        }
        let end = now.plus(self.rule.lifetime.duration());
        // Never beyond the caller's own credential.
        let end = fact.claims().expires_at().map_or(end, |expiry| expiry.min(end));
        let text = self.signer.sign("JWT", &self.rule.key_id, &self.claims(fact, now, end)?)?;
        let value = bearer_value(&text).ok()?;
        // The upstream shall have some time to use it.
        let life = end.since(now);
        let renew_at = now.plus(life.saturating_sub((life / 5).max(Duration::from_millis(1))));
        self.minted.insert(digest, Arc::new(Minted { value: value.clone(), renew_at }));
        Some(value)
    }

    fn claims(&self, fact: &Fact, now: UnixMillis, end: UnixMillis) -> Option<Value> {
        let mut claims = Map::new();
        for (name, source) in &self.rule.claims {
            let value = match source {
                ClaimSource::Text(text) => Some(Value::from(text.as_str())),
                ClaimSource::Claim(claim) => fact.claims().object().get(claim).cloned(),
            };
            claims.extend(value.map(|value| (name.clone(), value)));
        }
        let fixed: [(&str, Value); 5] = [
            ("iss", self.rule.issuer.as_str().into()),
            ("aud", self.rule.audience.as_str().into()),
            ("iat", (now.0 / 1000).into()),
            // Rounded up, so that a token of less than a second is not born dead.
            ("exp", end.0.div_ceil(1000).into()),
            ("jti", fresh_id()?.into()),
        ];
        claims.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        Some(Value::Object(claims))
    }
}
