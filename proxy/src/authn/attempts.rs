//! Brakes on guessing passwords (H5). An attempt is reserved before the password is looked at, so that many at once count
//! as they begin. Counted are failures of a user from an address, of an address, and of a user; who logged in from an
//! address before is held up by nothing but its own failures there, so that nobody can lock others out.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::shares::Short;
use crate::{clock::UnixMillis, peer::Peer};

/// Attempts of all users and addresses.
pub(super) struct Attempts(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    pairs: Counted<(Short, Peer)>,
    addresses: Counted<(Short, Peer)>,
    users: Counted<Short>,
    /// Who logged in from where, and when last.
    known: HashMap<(Short, Peer), UnixMillis>,
}

/// Failures and attempts under way.
struct Counted<K>(HashMap<K, Count>);

#[derive(Default, Clone, Copy)]
struct Count {
    failed: u32,
    under_way: u32,
    last: UnixMillis,
}

/// How failures cost time: so many cost none, each further one doubles a second, up to this.
pub(crate) struct Brake {
    pub(crate) free: u32,
    pub(crate) longest: Duration,
}

/// One user from one address.
pub(crate) const PAIR: Brake = Brake { free: 5, longest: Duration::from_mins(15) };

/// One address, whatever the user: behind a balancer that no route names it is that of many people.
pub(crate) const ADDRESS: Brake = Brake { free: 50, longest: Duration::from_mins(1) };

/// One user, whatever the address: slow, and short, for others can cause it.
pub(crate) const USER: Brake = Brake { free: 20, longest: Duration::from_secs(10) };

/// How long failures are remembered after the last one.
const REMEMBERED: Duration = Duration::from_mins(15);

/// How long a log-in from an address counts.
const KNOWN: Duration = Duration::from_hours(24 * 30);

/// Entries of each table. With no room left, the older half is forgotten: a brake, not a lock.
const MAX_ENTRIES: usize = 65_536;

/// An attempt under way; it failed unless it is told that it did not.
pub(super) struct Attempt {
    attempts: Arc<Attempts>,
    realm: Short,
    user: Short,
    peer: Peer,
    known: bool,
    now: UnixMillis,
    outcome: Option<bool>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Reserves an attempt, or says how long to wait. `user` is a digest that covers the realm.
    pub(super) fn reserve(
        self: &Arc<Self>,
        (realm, user): (Short, Short),
        peer: Peer,
        now: UnixMillis,
    ) -> Result<Attempt, Duration> {
        let mut tables = self.lock();
        let known = tables.known.get(&(user, peer)).is_some_and(|at| at.plus(KNOWN) > now);
        let wait = tables.wait((realm, user), peer, known, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        tables.change((realm, user), peer, known, now, |count| count.under_way = count.under_way.saturating_add(1));
        Ok(Attempt { attempts: Arc::clone(self), realm, user, peer, known, now, outcome: None })
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Whether others failed so often while this one waited for its turn that it would not be reserved now.
    pub(super) fn wait(&self, now: UnixMillis) -> Duration {
        let tables = self.attempts.lock();
        let own = |count: Count| Count { under_way: 0, ..count };
        let pair = PAIR.wait(own(tables.pairs.get(&(self.user, self.peer))), now);
        if self.known {
            return pair;
        }
        let address = ADDRESS.wait(own(tables.addresses.get(&(self.realm, self.peer))), now);
        pair.max(address).max(USER.wait(own(tables.users.get(&self.user)), now))
    }

    /// The password was right.
    pub(super) fn succeeded(mut self) {
        self.outcome = Some(true);
    }

    /// The password was wrong.
    pub(super) fn failed(mut self, now: UnixMillis) {
        (self.outcome, self.now) = (Some(false), now);
    }
}

impl Drop for Attempt {
    /// An attempt that was given up before the password was looked at costs nothing.
    fn drop(&mut self) {
        let mut tables = self.attempts.lock();
        let failed = u32::from(self.outcome == Some(false));
        tables.change((self.realm, self.user), self.peer, self.known, self.now, |count| {
            count.under_way = count.under_way.saturating_sub(1);
            count.failed = count.failed.saturating_add(failed);
        });
        if self.outcome == Some(true) {
            tables.pairs.0.remove(&(self.user, self.peer));
            make_room(&mut tables.known, |at| *at);
            tables.known.insert((self.user, self.peer), self.now);
        }
    }
}

impl Tables {
    fn wait(&self, (realm, user): (Short, Short), peer: Peer, known: bool, now: UnixMillis) -> Duration {
        let pair = PAIR.wait(self.pairs.get(&(user, peer)), now);
        if known {
            return pair;
        }
        let address = ADDRESS.wait(self.addresses.get(&(realm, peer)), now);
        pair.max(address).max(USER.wait(self.users.get(&user), now))
    }

    /// What a known user does from a known address says nothing of the address and of others who try that user.
    fn change(
        &mut self,
        (realm, user): (Short, Short),
        peer: Peer,
        known: bool,
        now: UnixMillis,
        change: impl Fn(&mut Count),
    ) {
        self.pairs.change((user, peer), now, &change);
        if !known {
            self.addresses.change((realm, peer), now, &change);
            self.users.change(user, now, &change);
        }
    }
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Counted<K> {
    fn get(&self, key: &K) -> Count {
        self.0.get(key).copied().unwrap_or_default()
    }

    fn change(&mut self, key: K, now: UnixMillis, change: impl Fn(&mut Count)) {
        if self.0.len() >= MAX_ENTRIES && !self.0.contains_key(&key) {
            self.0.retain(|_, count| count.under_way > 0 || count.last.plus(REMEMBERED) > now);
            make_room(&mut self.0, |count| count.last);
        }
        let count = self.0.entry(key).or_default();
        if count.last.plus(REMEMBERED) <= now {
            count.failed = 0;
        }
        change(count);
        // Attempts end in any order; one that began before the last failure does not make that older.
        count.last = count.last.max(now);
    }
}

impl Brake {
    /// Time until the next attempt is taken, those under way counted as if they had failed.
    fn wait(&self, count: Count, now: UnixMillis) -> Duration {
        if count.last.plus(REMEMBERED) <= now {
            return Duration::ZERO;
        }
        let over = count.failed.saturating_add(count.under_way).saturating_sub(self.free);
        if over == 0 {
            return Duration::ZERO;
        }
        let seconds = 1_u64.checked_shl(over.saturating_sub(1)).unwrap_or(u64::MAX);
        let until = count.last.plus(Duration::from_secs(seconds).min(self.longest));
        Duration::from_millis(until.0.saturating_sub(now.0))
    }
}

fn make_room<K: Hash + Eq, V>(table: &mut HashMap<K, V>, age: impl Fn(&V) -> UnixMillis) {
    if table.len() < MAX_ENTRIES {
        return;
    }
    let mut times: Vec<_> = table.values().map(&age).collect();
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    table.retain(|_, held| age(held) > median);
}

#[cfg(test)]
mod tests;
