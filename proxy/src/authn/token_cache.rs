//! What is remembered of tokens. Keys are full keyed digests, so that neither the heap nor a dump holds a token and
//! no two tokens share an entry (I3, J9). Active and inactive answers have budgets of their own (I10).

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::VerifiedCredential;
use crate::{
    bounded_cache::{BoundedCache, Held},
    clock::UnixMillis,
    heap_size::HeapSize,
};

/// Keyed SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl HeapSize for TokenDigest {
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The first 64 bits of a digest, to recognise a credential in records without being able to use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 8]);

/// Makes digests; the key is drawn once for the life of the process. Of this crate, since its state is copied without an
/// allocation, once for each request.
#[derive(Clone)]
pub struct TokenDigester(Sha256);

/// Facts of one token service, client and dialect. Each such triple has tables of its own, so that an answer that was
/// given to one can never be used for another (I2).
pub(super) struct TokenCache {
    active: BoundedCache<TokenDigest, Arc<VerifiedCredential>>,
    inactive: Cache<TokenDigest, UnixMillis>,
}

/// Most inactive answers held.
const MAX_INACTIVE: usize = 4096;

/// What is known of a token right now.
pub(super) enum Remembered {
    Active(Arc<VerifiedCredential>),
    Inactive,
    Nothing,
}

impl TokenDigester {
    /// `key` is 64 random bytes: one whole block of SHA-256, so that the prefix is a key and not part of the text.
    pub fn new(key: &[u8; 64]) -> Self {
        Self(Sha256::new().chain_update(key))
    }

    /// The digest of a token.
    pub fn digest(&self, token: &str) -> TokenDigest {
        self.digest_bytes(token.as_bytes())
    }

    /// The digest of a credential that is no text.
    pub fn digest_bytes(&self, credential: &[u8]) -> TokenDigest {
        TokenDigest(self.0.clone().chain_update(credential).finalize().into())
    }
}

impl TokenDigest {
    /// What records show of it.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        Fingerprint(bytes)
    }
}

impl TokenDigest {
    /// All of it.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 128 bits, for tables that hold much.
    pub(super) fn short(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        bytes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Once for each request, so without the machinery of formatting.
        let digit = |half: u8| char::from(if half < 10 { b'0' | half } else { (b'a' - 10).wrapping_add(half) });
        self.0.iter().try_for_each(|byte| {
            f.write_char(digit(byte >> 4))?;
            f.write_char(digit(byte & 15))
        })
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TokenCache {
    /// `bytes` bounds the active answers; an inactive one takes less than 100 bytes.
    pub(super) fn new(bytes: u64) -> Self {
        Self { active: BoundedCache::new(bytes), inactive: Cache::new(MAX_INACTIVE) }
    }

    /// What may be used at this moment; a bound that has passed is as good as nothing.
    pub(super) fn get(&self, token: &TokenDigest, now: UnixMillis) -> Remembered {
        if let Some(credential) = self.lookup(token, now) {
            return Remembered::Active(credential);
        }
        match self.inactive.get(token) {
            Some(until) if now < until => Remembered::Inactive,
            _ => Remembered::Nothing,
        }
    }

    /// An active answer that may be used at this moment.
    pub(super) fn lookup(&self, token: &TokenDigest, now: UnixMillis) -> Option<Arc<VerifiedCredential>> {
        self.active.get(token).filter(|credential| credential.is_usable(now))
    }

    /// An active answer, also one whose time has run out.
    pub(super) fn get_active(&self, token: &TokenDigest) -> Option<Arc<VerifiedCredential>> {
        self.active.get(token)
    }

    pub(super) fn put_active(&self, token: TokenDigest, credential: Arc<VerifiedCredential>) {
        self.active.insert(token, credential);
    }

    /// The token was found inactive: an older active answer goes at once.
    pub(super) fn put_inactive(&self, token: TokenDigest, until: UnixMillis) {
        self.active.remove(&token);
        self.inactive.insert(token, until);
    }

    /// What the active answers take.
    pub(super) fn held(&self) -> Held {
        self.active.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_in_hexadecimal() {
        let digest = TokenDigest([[0x00, 0x0f, 0x10, 0x9a, 0xa9, 0xff, 0x5b, 0xe1]; 4].concat().try_into().unwrap());
        assert_eq!(digest.fingerprint().to_string(), "000f109aa9ff5be1");
    }

    /// What was found out counts from that moment to its bound, whatever the clock did in between.
    #[test]
    fn b7_an_answer_never_lasts_longer_than_its_bound_when_the_clock_steps() {
        let cache = TokenCache::new(1 << 20);
        let digest = TokenDigester::new(&[1; 64]).digest("token");
        let hour = std::time::Duration::from_hours(1);
        let (found_at, bound) = (UnixMillis(100_000_000), std::time::Duration::from_mins(1));
        let claims = VerifiedCredential::of_claims_for_tests(&serde_json::json!({"sub": "ada"}));
        cache.put_active(digest, Arc::new(claims.exchanged("jwt", (found_at, found_at.plus(bound))).unwrap()));
        for (now, used) in [
            (found_at, true),
            (found_at.plus(bound / 2), true),
            (found_at.plus(bound), false),
            (found_at.plus(hour), false),
            // The clock was an hour ahead when the answer came, and is right again.
            (UnixMillis(found_at.0 - 1), false),
            (UnixMillis(found_at.0 - 3_600_000), false),
        ] {
            assert_eq!(cache.lookup(&digest, now).is_some(), used, "{now:?}");
        }
    }

    /// What one caller floods the tables with costs the others nothing that they use.
    #[test]
    fn i10_floods_leave_entries_in_use_alone() {
        let (cache, now) = (TokenCache::new(1 << 20), UnixMillis(1_000));
        let digester = TokenDigester::new(&[1; 64]);
        let credential = |number: usize| {
            Arc::new(VerifiedCredential::of_claims_for_tests(&serde_json::json!({ "sub": number.to_string() })))
        };
        let used: Vec<_> = (0..50).map(|number| digester.digest(&format!("used {number}"))).collect();
        for (number, digest) in used.iter().enumerate() {
            cache.put_active(*digest, credential(number));
            assert!(cache.lookup(digest, now).is_some());
        }
        for number in 0..50_000 {
            // Tokens that nobody knows, and good ones of one caller that never come again.
            cache.put_inactive(digester.digest(&format!("bad {number}")), UnixMillis(u64::MAX));
            cache.put_active(digester.digest(&format!("once {number}")), credential(number));
            if number % 1_000 == 0 {
                assert!(used.iter().all(|digest| cache.lookup(digest, now).is_some()), "{number}");
            }
        }
        assert!(used.iter().all(|digest| cache.lookup(digest, now).is_some()));
        assert!(cache.held().bytes <= 1 << 20);
    }
}
