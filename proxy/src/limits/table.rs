//! Counts by key, bounded in keys. The key itself is not kept, only a keyed hash of it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use portreeve_policy::{Admission, MAX_RATES, Rate};

use crate::bounded_cache::Held;

/// What is counted under one limit. Shared by every rule and worker that counts under it.
pub(crate) struct Table {
    /// Keyed anew for each process, so that nobody can choose keys that fall together.
    hasher: RandomState,
    parts: [Mutex<Counts>; PARTS],
}

/// One arrival time for each rate.
type Arrivals = [u64; MAX_RATES];

type Counts = HashMap<u64, Arrivals>;

/// What is left of one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Left {
    pub(crate) requests: u64,
    /// Nanoseconds.
    pub(crate) full_in: u64,
}

/// What a limit says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// Counted. What is left, rate by rate.
    Admitted([Left; MAX_RATES]),
    /// Not counted. One more is admitted in so many nanoseconds; beside it what is left.
    Refused(u64, [Left; MAX_RATES]),
}

/// Locks of one table, so that workers seldom wait for each other.
const PARTS: usize = 16;

/// Keys of one table at the most.
pub(crate) const MAX_KEYS: usize = 65_536;

/// Bytes of one key, in a hash table that is half full.
const KEY_BYTES: usize = 2 * (size_of::<(u64, Arrivals)>() + 1);

impl Table {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn hasher(&self) -> impl std::hash::Hasher {
        self.hasher.build_hasher()
    }

    /// Counts one request under every rate, or under none.
    pub(crate) fn charge(&self, key: u64, rates: &[Rate], now: u64) -> Charge {
        let mut counts = self.part(key);
        let held = counts.get(&key).copied().unwrap_or_default();
        let (mut arrivals, mut left, mut retry_in) = (held, [Left::default(); MAX_RATES], 0);
        for ((rate, arrival), left) in rates.iter().zip(&mut arrivals).zip(&mut left) {
            match rate.admit(*arrival, now) {
                Admission::Admitted { arrival: next, remaining, full_in } => {
                    *arrival = next;
                    *left = Left { requests: remaining, full_in };
                }
                Admission::Refused { retry_in: wait } => retry_in = wait.max(retry_in),
            }
        }
        if retry_in > 0 {
            for ((rate, arrival), left) in rates.iter().zip(&held).zip(&mut left) {
                let (requests, full_in) = rate.left(*arrival, now);
                *left = Left { requests, full_in };
            }
            return Charge::Refused(retry_in, left);
        }
        if counts.len() >= MAX_KEYS / PARTS && !counts.contains_key(&key) {
            make_room(&mut counts, now);
        }
        counts.insert(key, arrivals);
        Charge::Admitted(left)
    }

    /// Takes back what was counted for a request that another limit refused.
    pub(crate) fn refund(&self, key: u64, rates: &[Rate]) {
        if let Some(arrivals) = self.part(key).get_mut(&key) {
            for (rate, arrival) in rates.iter().zip(arrivals) {
                *arrival = rate.refund(*arrival);
            }
        }
    }

    pub(crate) fn held(&self) -> Held {
        let entries = self.parts.iter().map(|part| lock(part).len()).fold(0, usize::saturating_add);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Held { entries: number(entries), bytes: number(entries.saturating_mul(KEY_BYTES)) }
    }

    fn part(&self, key: u64) -> MutexGuard<'_, Counts> {
        let [first, ..] = &self.parts;
        let place = usize::try_from(key >> 60).unwrap_or(0);
        lock(self.parts.get(place).unwrap_or(first))
    }
}

fn lock(part: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys that have everything back go first, for nothing is lost with them; then the quarter that has used least. Whoever
/// wants a key of his own forgotten would have to use that many others more.
fn make_room(counts: &mut Counts, now: u64) {
    let latest = |arrivals: &Arrivals| arrivals.iter().copied().max().unwrap_or(0);
    counts.retain(|_, arrivals| latest(arrivals) > now);
    if counts.len() < MAX_KEYS / PARTS {
        return;
    }
    let mut used: Vec<u64> = counts.values().map(latest).collect();
    let quarter = used.len() / 4;
    let (_, edge, _) = used.select_nth_unstable(quarter);
    let edge = *edge;
    let mut excess = quarter.max(1);
    counts.retain(|_, arrivals| {
        let goes = excess > 0 && latest(arrivals) <= edge;
        excess = excess.saturating_sub(usize::from(goes));
        !goes
    });
}

#[cfg(test)]
mod tests {
    use portreeve_policy::Period;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rates(of: &[(u64, Period)]) -> Vec<Rate> {
        of.iter().map(|(requests, per)| Rate::new(*requests, *per, *requests).unwrap()).collect()
    }

    fn left(of: &[(u64, u64)]) -> [Left; MAX_RATES] {
        let mut left = [Left::default(); MAX_RATES];
        for (left, (requests, seconds)) in left.iter_mut().zip(of) {
            *left = Left { requests: *requests, full_in: seconds * SECOND };
        }
        left
    }

    #[test]
    fn a_request_is_counted_under_every_rate_or_under_none() {
        let (table, rates) = (Table::new(), rates(&[(2, Period::Second), (3, Period::Hour)]));
        let now = 1000 * SECOND;
        let passes = |now| matches!(table.charge(7, &rates, now), Charge::Admitted(_));
        assert_eq!([passes(now), passes(now), passes(now)], [true, true, false]);
        assert!(passes(now + SECOND), "what the first rate refused did not count under the second");
        assert_eq!(
            table.charge(7, &rates, now + 2 * SECOND),
            Charge::Refused(1198 * SECOND, left(&[(2, 0), (0, 3598)]))
        );
        assert!(
            matches!(table.charge(8, &rates, now), Charge::Admitted(left) if left[0].requests == 1 && left[1].requests == 2)
        );
        table.refund(8, &rates);
        assert!(
            matches!(table.charge(8, &rates, now), Charge::Admitted(left) if left[0].requests == 1 && left[1].requests == 2)
        );
    }

    #[test]
    fn keys_are_bounded_and_a_key_that_is_used_up_is_not_forgotten_for_many_new_ones() {
        let (table, rates) = (Table::new(), rates(&[(5, Period::Hour)]));
        let now = 1000 * SECOND;
        let spread = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        while matches!(table.charge(spread(1), &rates, now), Charge::Admitted(_)) {}
        for number in 2..300_000 {
            table.charge(spread(number), &rates, now);
        }
        let held = table.held();
        assert!(held.entries <= u64::try_from(MAX_KEYS).unwrap() && held.entries > 40_000, "{held:?}");
        assert!(matches!(table.charge(spread(1), &rates, now), Charge::Refused(..)));
        table.charge(spread(400_000), &rates, now + 7200 * SECOND);
        for number in 500_000..500_000 + 70_000 {
            table.charge(spread(number), &rates, now + 7200 * SECOND);
        }
        assert!(matches!(table.charge(spread(1), &rates, now + 7200 * SECOND), Charge::Admitted(_)), "it has all back");
    }

    #[test]
    fn sixteen_threads_together_admit_what_one_would() {
        let (table, rates) = (Table::new(), rates(&[(100, Period::Day)]));
        let admitted: usize = std::thread::scope(|scope| {
            let ask = || (0..50).filter(|_| matches!(table.charge(3, &rates, SECOND), Charge::Admitted(_))).count();
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100);
    }
}
