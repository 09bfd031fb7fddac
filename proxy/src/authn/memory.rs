//! What the process remembers of proofs and passwords, for all workers and across snapshots: used DPoP proofs, used
//! Digest nonces, failed passwords. Everything is bounded; a full table refuses rather than forgets (RFC 9449 section
//! 11.1).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::attempts::Attempts;
use super::budget::Budget;
use super::shares::{SHARD_ENTRIES, SHARDS, Shares, Short, Use, UsedOnce, lock, shard};
use super::token_service_client::Asker;
use crate::{bulkhead::Bulkhead, clock::UnixMillis, peer::Peer};

/// State of credentials that are more than a look-up.
pub struct CredentialMemory {
    key: hmac::Key,
    /// DPoP proofs that were accepted.
    proofs: UsedOnce,
    /// Highest `nc` of each Digest nonce.
    pub(super) nonce_counts: Counts,
    /// Wrong passwords.
    pub(super) attempts: Arc<Attempts>,
    /// Slow hashes.
    pub(super) hashing: Arc<Bulkhead>,
    /// Tokens by address that were not active.
    pub(super) inactive: Arc<Budget>,
}

/// What a nonce is for; one kind is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceUse {
    /// HTTP Digest (RFC 7616).
    Digest,
    /// Proofs of possession (RFC 9449).
    Dpop,
}

/// What became of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NonceVerdict {
    Fresh,
    /// Ours, but too old.
    Stale,
    Unknown,
}

/// Slow hashes that wait for their turn.
pub(crate) const HASHES_WAITING: usize = 62;

/// Those that run at the same time: on half of the processors, so that a flood of wrong passwords leaves time for others.
fn hashes() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get() / 2).max(1)
}

/// How long a nonce of ours counts.
pub(super) const NONCE_LIFETIME: Duration = Duration::from_mins(5);

impl CredentialMemory {
    /// `key` is 32 random bytes, drawn once for the life of the process.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            proofs: UsedOnce::new(),
            nonce_counts: Counts::new(),
            attempts: Arc::new(Attempts::new()),
            hashing: Bulkhead::new(hashes(), HASHES_WAITING),
            inactive: Arc::new(Budget::new()),
        }
    }

    /// A nonce that only this process can make: its time, 8 random bytes and a MAC of both (RFC 7616 section 3.3).
    pub fn nonce(&self, kind: NonceUse, now: UnixMillis) -> String {
        let mut random = [0; 8];
        if aws_lc_rs::rand::fill(&mut random).is_err() {
            // The nonce is still unguessable, for the MAC covers the time.
            random = now.0.to_le_bytes();
        }
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&now.0.to_be_bytes());
        bytes.extend_from_slice(&random);
        let tag = hmac::sign(&self.key, &Self::covered(kind, &bytes));
        bytes.extend_from_slice(tag.as_ref().get(..16).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn check_nonce(&self, kind: NonceUse, nonce: &str, now: UnixMillis) -> NonceVerdict {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else { return NonceVerdict::Unknown };
        let Some((covered, tag)) = bytes.split_at_checked(16) else { return NonceVerdict::Unknown };
        let expected = hmac::sign(&self.key, &Self::covered(kind, covered));
        let expected = expected.as_ref().get(..16).unwrap_or_default();
        if aws_lc_rs::constant_time::verify_slices_are_equal(expected, tag).is_err() {
            return NonceVerdict::Unknown;
        }
        let made = covered.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk));
        if UnixMillis(made).plus(NONCE_LIFETIME) > now { NonceVerdict::Fresh } else { NonceVerdict::Stale }
    }

    /// Takes a proof of the holder of this key that has to be remembered for `generation`. Where it lies in the table
    /// follows from a key of ours, so that nobody can aim at a part of it.
    pub(super) fn take_proof(&self, holder: &[u8; 32], jti: &str, generation: Duration, now: UnixMillis) -> Use {
        let owner = self.keyed(&[b"holder\0", holder]);
        let proof = self.keyed(&[b"proof\0", holder, jti.as_bytes()]);
        self.proofs.take(owner, proof, generation, now)
    }

    /// On whose behalf a token service is asked.
    pub(super) fn asker(&self, client: IpAddr) -> Asker {
        Asker { peer: Peer::of(client), inactive: Arc::clone(&self.inactive) }
    }

    fn keyed(&self, parts: &[&[u8]]) -> Short {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(part);
        }
        let mut short = [0; 16];
        short.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        short
    }

    fn covered(kind: NonceUse, bytes: &[u8]) -> Vec<u8> {
        let label: &[u8] = match kind {
            NonceUse::Digest => b"digest\0",
            NonceUse::Dpop => b"dpop\0",
        };
        [label, bytes].concat()
    }
}

/// The highest count seen of each nonce; a nonce lives shorter than a generation.
pub(super) struct Counts {
    counts: [Mutex<CountGenerations>; SHARDS],
    shares: Shares,
}

struct CountGenerations {
    number: u64,
    current: HashMap<Short, u32>,
    previous: HashMap<Short, u32>,
}

impl Counts {
    fn new() -> Self {
        let empty = || CountGenerations { number: 0, current: HashMap::new(), previous: HashMap::new() };
        Self { counts: std::array::from_fn(|_| Mutex::new(empty())), shares: Shares::new() }
    }

    /// Takes the next count of a nonce; it has to be higher than every one before (RFC 7616 section 3.4). Both are keyed
    /// digests.
    pub(super) fn advance(&self, user: Short, nonce: Short, count: u32, now: UnixMillis) -> Use {
        let length = u64::try_from(NONCE_LIFETIME.as_millis()).unwrap_or(u64::MAX).saturating_mul(2);
        let number = now.0 / length;
        let Some(shard) = shard(&self.counts, nonce) else { return Use::Full };
        let mut held = lock(shard);
        if number > held.number {
            let current = std::mem::take(&mut held.current);
            held.previous = if number == held.number.saturating_add(1) { current } else { HashMap::new() };
            held.number = number;
        }
        let seen = held.current.get(&nonce).or_else(|| held.previous.get(&nonce)).copied().unwrap_or(0);
        if count <= seen {
            return Use::Repeated;
        }
        let known = held.current.contains_key(&nonce);
        if !known && (held.current.len() >= SHARD_ENTRIES || !self.shares.take(user, number)) {
            return Use::Full;
        }
        held.current.insert(nonce, count);
        Use::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);

    #[test]
    fn a_nonce_is_ours_for_one_use_and_a_while() {
        let memory = CredentialMemory::new(&[1; 32]);
        let nonce = memory.nonce(NonceUse::Dpop, NOW);
        assert_eq!(memory.check_nonce(NonceUse::Dpop, &nonce, NOW), NonceVerdict::Fresh);
        assert_eq!(memory.check_nonce(NonceUse::Dpop, &nonce, NOW.plus(NONCE_LIFETIME)), NonceVerdict::Stale);
        assert_eq!(memory.check_nonce(NonceUse::Digest, &nonce, NOW), NonceVerdict::Unknown);
        assert_eq!(CredentialMemory::new(&[2; 32]).check_nonce(NonceUse::Dpop, &nonce, NOW), NonceVerdict::Unknown);
        for bad in ["", "x", "AAAA", nonce.get(1..).unwrap(), &format!("{nonce}AA")] {
            assert_eq!(memory.check_nonce(NonceUse::Dpop, bad, NOW), NonceVerdict::Unknown, "{bad}");
        }
    }

    #[test]
    fn counts_only_rise_c4() {
        let counts = Counts::new();
        for (count, verdict) in
            [(1, Use::First), (1, Use::Repeated), (3, Use::First), (2, Use::Repeated), (4, Use::First)]
        {
            assert_eq!(counts.advance([9; 16], [1; 16], count, NOW), verdict, "{count}");
        }
        assert_eq!(counts.advance([9; 16], [2; 16], 1, NOW), Use::First);
        assert_eq!(counts.advance([9; 16], [2; 16], 0, NOW), Use::Repeated);
    }
}
