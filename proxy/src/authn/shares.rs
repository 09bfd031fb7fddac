//! Tables that must not forget, and that nobody may fill for the others: each owner gets at most as much as is still free.
//! One who takes all it can leaves half of the table, two leave a third, and so on; whoever floods is refused first (I10).

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::UnixMillis;

/// Whether a value was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    First,
    /// There is no room to remember another one, or the owner has its share, so that it must not be accepted.
    Full,
    Repeated,
}

/// Keyed digest of a value or of its owner: nobody can choose where it lies.
pub(super) type Short = [u8; 16];

pub(super) const SHARDS: usize = 16;

/// Most values of one generation in one shard, and in all.
pub(super) const SHARD_ENTRIES: usize = 16_384;
pub(super) const ENTRIES: usize = SHARDS * SHARD_ENTRIES;

/// What every owner may have, whatever is free.
const FLOOR: usize = 16;

/// How much of a generation each owner has taken.
pub(super) struct Shares {
    owners: [Mutex<OwnerGeneration>; SHARDS],
    total: Mutex<(u64, usize)>,
}

#[derive(Default)]
struct OwnerGeneration {
    number: u64,
    taken: HashMap<Short, usize>,
}

/// Remembers values for at least one generation and at most two.
pub(super) struct UsedOnce {
    values: [Mutex<Generations>; SHARDS],
    shares: Shares,
}

#[derive(Default)]
struct Generations {
    number: u64,
    current: HashSet<Short>,
    previous: HashSet<Short>,
}

impl Shares {
    pub(super) fn new() -> Self {
        Self { owners: std::array::from_fn(|_| Mutex::default()), total: Mutex::default() }
    }

    /// Takes a place in the generation of this number; `false` when the owner has its share.
    pub(super) fn take(&self, owner: Short, number: u64) -> bool {
        let mut total = lock(&self.total);
        if number > total.0 {
            *total = (number, 0);
        }
        let Some(shard) = shard(&self.owners, owner) else { return false };
        let mut held = lock(shard);
        if number > held.number {
            *held = OwnerGeneration { number, taken: HashMap::new() };
        }
        let taken = held.taken.get(&owner).copied().unwrap_or(0);
        let free = ENTRIES.saturating_sub(total.1);
        if free == 0 || taken >= free.max(FLOOR) {
            return false;
        }
        held.taken.insert(owner, taken.saturating_add(1));
        total.1 = total.1.saturating_add(1);
        true
    }
}

impl UsedOnce {
    pub(super) fn new() -> Self {
        Self { values: std::array::from_fn(|_| Mutex::default()), shares: Shares::new() }
    }

    /// Takes a value of this owner that has to be remembered for `generation` from now on.
    pub(super) fn take(&self, owner: Short, value: Short, generation: Duration, now: UnixMillis) -> Use {
        let length = u64::try_from(generation.as_millis()).unwrap_or(u64::MAX).max(1);
        let number = now.0 / length;
        let Some(shard) = shard(&self.values, value) else { return Use::Full };
        let mut held = lock(shard);
        if number > held.number {
            let current = std::mem::take(&mut held.current);
            held.previous = if number == held.number.saturating_add(1) { current } else { HashSet::new() };
            held.number = number;
        }
        if held.current.contains(&value) || held.previous.contains(&value) {
            return Use::Repeated;
        }
        if held.current.len() >= SHARD_ENTRIES || !self.shares.take(owner, number) {
            return Use::Full;
        }
        held.current.insert(value);
        Use::First
    }
}

pub(super) fn shard<T>(shards: &[T; SHARDS], value: Short) -> Option<&T> {
    shards.get(usize::from(value.first().copied().unwrap_or(0)) % SHARDS)
}

pub(super) fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000_000);
    const MINUTE: Duration = Duration::from_mins(1);

    /// A value as a keyed digest would spread it.
    fn value(owner: u8, number: u32) -> Short {
        let mut value = [owner; 16];
        value[12..].copy_from_slice(&number.to_be_bytes());
        value[0] = value[15];
        value
    }

    #[test]
    fn a_value_is_taken_once_for_at_least_a_generation() {
        let used = UsedOnce::new();
        let take = |value: u8, now| used.take([9; 16], [value; 16], MINUTE, now);
        assert_eq!(take(1, NOW), Use::First);
        assert_eq!(take(1, NOW), Use::Repeated);
        assert_eq!(take(1, NOW.plus(MINUTE)), Use::Repeated);
        assert_eq!(take(2, NOW.plus(MINUTE)), Use::First);
        assert_eq!(take(1, NOW.plus(MINUTE * 3)), Use::First);
    }

    #[test]
    fn m3_i10_who_floods_is_refused_and_the_others_are_not() {
        let used = UsedOnce::new();
        let flood = |owner: u8| {
            let taken = |number: &u32| used.take([owner; 16], value(owner, *number), MINUTE, NOW) == Use::First;
            (0..u32::try_from(ENTRIES).unwrap()).filter(taken).count()
        };
        let first = flood(1);
        assert!((ENTRIES / 2 - 1..=ENTRIES / 2 + 1).contains(&first), "half for one: {first}");
        assert_eq!(used.take([1; 16], value(1, 0), MINUTE, NOW), Use::Repeated, "nothing is forgotten");
        let second = flood(2);
        assert!(second >= ENTRIES / 4 - 1, "half of the rest for the next: {second}");
        for owner in 3..60 {
            assert_eq!(used.take([owner; 16], value(owner, 7), MINUTE, NOW), Use::First, "{owner}");
        }
        assert_eq!(used.take([1; 16], value(1, 1_000_000), MINUTE, NOW), Use::Full);
        assert_eq!(used.take([1; 16], value(1, 1_000_000), MINUTE, NOW.plus(MINUTE)), Use::First, "a new generation");
    }
}
