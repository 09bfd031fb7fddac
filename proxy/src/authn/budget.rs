//! Tokens that are not active cost a question each. One address may bring so many at once, and so many a second; beyond
//! that its unknown tokens are refused unasked, while those that are known go on (H4).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{clock::UnixMillis, peer::Peer};

/// What addresses have left.
pub(super) struct Budget(Mutex<HashMap<Peer, Allowance>>);

/// Thousandths of a token, as of this moment.
struct Allowance {
    left: u64,
    at: UnixMillis,
}

/// Tokens at once. Behind a balancer that no route names, many clients are one address.
pub(crate) const BURST: u64 = 500;

/// Tokens that a second brings back: a thousandth of that each millisecond.
pub(crate) const PER_SECOND: u64 = 50;

/// Addresses that are remembered.
const MAX_PEERS: usize = 16_384;

impl Budget {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Whether this address has nothing left.
    pub(super) fn is_spent(&self, peer: Peer, now: UnixMillis) -> bool {
        self.lock().get(&peer).is_some_and(|account| account.left(now) < 1000)
    }

    /// One of its tokens was not active.
    pub(super) fn spend(&self, peer: Peer, now: UnixMillis) {
        let mut held = self.lock();
        if held.len() >= MAX_PEERS && !held.contains_key(&peer) {
            held.retain(|_, account| account.left(now) < BURST * 1000);
            if held.len() >= MAX_PEERS {
                // So many that none of them is to blame alone; the bulkhead bounds them together.
                held.clear();
            }
        }
        let left = held.get(&peer).map_or(BURST * 1000, |account| account.left(now));
        held.insert(peer, Allowance { left: left.saturating_sub(1000), at: now });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Allowance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allowance {
    fn left(&self, now: UnixMillis) -> u64 {
        let earned = now.0.saturating_sub(self.at.0).saturating_mul(PER_SECOND);
        self.left.saturating_add(earned).min(BURST * 1000)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn h4_an_address_brings_so_many_inactive_tokens_and_others_are_not_held_up() {
        let (budget, now) = (Budget::new(), UnixMillis(1_000_000));
        let (one, other) = (Peer::of([192, 0, 2, 1].into()), Peer::of([192, 0, 2, 2].into()));
        let mut count = 0;
        while !budget.is_spent(one, now) {
            budget.spend(one, now);
            count += 1;
        }
        assert_eq!(count, BURST);
        assert!(!budget.is_spent(other, now));
        let later = now.plus(Duration::from_millis(20));
        assert!(budget.is_spent(one, now.plus(Duration::from_millis(19))) && !budget.is_spent(one, later));
        budget.spend(one, later);
        assert!(budget.is_spent(one, later));
        assert!(!budget.is_spent(one, later.plus(Duration::from_secs(1))));
    }

    #[test]
    fn h4_what_is_remembered_of_addresses_is_bounded() {
        let (budget, now) = (Budget::new(), UnixMillis(1_000_000));
        for number in 0..40_000_u32 {
            budget.spend(Peer::of(number.to_be_bytes().into()), now);
        }
        assert!(budget.lock().len() <= MAX_PEERS);
    }
}
