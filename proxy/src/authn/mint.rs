//! Tokens that the gateway mints for the upstream: one for each credential and what is known of it, not one for each
//! request.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use http::HeaderValue;
use portreeve_policy::{ClaimSource, KeySet, MintRule, Secret};
use serde_json::{Map, Value};

use super::{
    TokenDigest, VerifiedCredential,
    answer::bearer_value,
    signer::{InvalidSigningKey, Signer, fresh_id},
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    clock::UnixMillis,
    heap_size::HeapSize,
};

/// Mints by one rule. Outlives a snapshot while the rule and its key stay the same.
pub struct Minter {
    rule: MintRule,
    key: Secret,
    signer: Signer,
    minted: BoundedCache<[u8; 32], Arc<Minted>>,
}

/// A minted token, and when the next one is due.
struct Minted {
    value: HeaderValue,
    renew_at: UnixMillis,
}

/// Longest life of a minted token, whatever the rule says: what it says of the caller is not looked at again meanwhile.
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// Bytes of minted tokens that one rule holds at the most.
const MAX_BYTES: u64 = 16 << 20;

impl HeapSize for Minted {
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
    pub fn token_for(
        &self,
        digest: TokenDigest,
        credential: &VerifiedCredential,
        now: UnixMillis,
    ) -> Option<HeaderValue> {
        let key = key(digest, credential);
        if let Some(held) = self.minted.get(&key)
            && now < held.renew_at
        {
            return Some(held.value.clone());
        }
        let end = end_of(now, self.rule.lifetime.duration().min(MAX_LIFETIME));
        // Never beyond the caller's own credential.
        let end = credential.claims().expires_at().map_or(end, |expiry| expiry.min(end));
        let text = self.signer.sign("JWT", &self.rule.key_id, &self.claims(credential, now, end)?)?;
        let value = bearer_value(&text).ok()?;
        // The upstream shall have some time to use it.
        let life = end.since(now);
        let renew_at = now.plus(life.saturating_sub((life / 5).max(Duration::from_millis(1))));
        self.minted.insert(key, Arc::new(Minted { value: value.clone(), renew_at }));
        Some(value)
    }

    fn claims(&self, credential: &VerifiedCredential, now: UnixMillis, end: UnixMillis) -> Option<Value> {
        let mut claims = Map::new();
        for (name, source) in &self.rule.claims {
            let value = match source {
                ClaimSource::Text(text) => Some(Value::from(text.as_str())),
                ClaimSource::Claim(claim) => credential.claims().object().get(claim).cloned(),
            };
            claims.extend(value.map(|value| (name.clone(), value)));
        }
        let fixed: [(&str, Value); 5] = [
            ("iss", self.rule.issuer.as_str().into()),
            ("aud", self.rule.audience.as_str().into()),
            ("iat", (now.0 / 1000).into()),
            // Of a caller's credential that ends within a second.
            ("exp", end.0.div_ceil(1000).into()),
            ("jti", fresh_id()?.into()),
        ];
        claims.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
        Some(Value::Object(claims))
    }
}

/// Whole seconds from `iat`, which is rounded down: the life of a token is the one that is stated. Only where less than
/// a second would be left it gets another one.
fn end_of(now: UnixMillis, lifetime: Duration) -> UnixMillis {
    let second = Duration::from_secs(1);
    let end = UnixMillis(now.0 / 1000 * 1000).plus(lifetime);
    let end = UnixMillis(end.0.div_ceil(1000).saturating_mul(1000));
    if end < now.plus(second) { end.plus(second) } else { end }
}

/// Everything that a minted token follows from beside the rule, which has a table of its own: who vouches for the caller
/// and how that was found out, the credential, and every claim (H1).
fn key(digest: TokenDigest, credential: &VerifiedCredential) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    let source = credential.origin().source().as_bytes();
    context.update(&source.len().to_le_bytes());
    context.update(source);
    context.update(digest.bytes());
    context.update(credential.claims().text());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::authn::{Origin, TokenDigester};

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    fn claims_of(value: &HeaderValue) -> Value {
        let payload = value.to_str().unwrap().split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    /// Whatever changes of the caller changes what the upstream is told at once; nothing changes nothing.
    #[test]
    fn h1_a_minted_token_is_bound_to_everything_that_it_says_and_to_who_vouches_for_it() {
        let rule: MintRule = serde_json::from_value(json!({
            "signingKey": "d/s#gw", "keyId": "gw", "published": [], "issuer": "urn:gw", "audience": "app",
            "lifetime": 999_999_999_u64, "claims": {"sub": {"claim": "sub"}, "roles": {"claim": "roles"}},
        }))
        .unwrap();
        let key = Secret::new(rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes());
        let minter = Minter::new(&rule, &key, &[]).unwrap();
        let digest = TokenDigester::new(&[1; 64]).digest("opaque");
        let credential = |issuer: &str, sub: &str, roles: &[&str]| {
            let claims = json!({"sub": sub, "roles": roles});
            let origin = Origin::token_service(issuer, issuer);
            VerifiedCredential::of_claims(claims.as_object().unwrap(), &origin, NOW).unwrap()
        };
        let mut seen = Vec::new();
        for credential in [
            credential("https://corp", "mallory", &["admin"]),
            credential("https://corp", "mallory", &[]),
            credential("https://corp", "cfo", &["admin"]),
            credential("https://partner", "mallory", &["admin"]),
        ] {
            let value = minter.token_for(digest, &credential, NOW).unwrap();
            assert_eq!(minter.token_for(digest, &credential, NOW).unwrap(), value, "one for each credential");
            let claims = claims_of(&value);
            assert_eq!(
                (&claims["sub"], &claims["roles"]),
                (&credential.claims().object()["sub"], &credential.claims().object()["roles"])
            );
            assert_eq!(claims["exp"], 1_000_000 + 3600, "never longer than an hour");
            assert!(!seen.contains(&value), "{claims}");
            seen.push(value);
        }
    }

    #[test]
    fn a_minted_token_lives_as_long_as_is_stated_and_is_never_born_dead() {
        for (now, lifetime, end) in [
            (1_000_000, 60_000, 1_060_000),
            (1_000_999, 60_000, 1_060_000),
            (1_000_999, 1_000, 1_002_000),
            (1_000_000, 500, 1_001_000),
            (1_000_001, 500, 1_002_000),
        ] {
            let found = end_of(UnixMillis(now), Duration::from_millis(lifetime));
            assert_eq!(found, UnixMillis(end), "{now} {lifetime}");
        }
    }
}
