//! A table that holds no more than so many bytes. What is used again stays, what is not goes first (S3-FIFO's kin).

use std::hash::Hash;

use quick_cache::{Weighter, sync::Cache};

use crate::heap_size::HeapSize;

/// Values by key, bounded in bytes.
pub(crate) struct BoundedCache<K, V>(Cache<K, V, Bytes>);

/// What tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    /// How many entries.
    pub(crate) entries: u64,
    /// How many bytes they take, as they are weighed.
    pub(crate) bytes: u64,
}

impl std::iter::Sum for Held {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, held| Self {
            entries: sum.entries.saturating_add(held.entries),
            bytes: sum.bytes.saturating_add(held.bytes),
        })
    }
}

/// Weighs entries.
#[derive(Clone)]
struct Bytes;

/// What an entry costs in the table beside key and value: links, and its place in an index that is up to half empty.
const SLOT: usize = 40;

/// What an entry is taken to weigh when the number of entries has to be guessed.
const TYPICAL: u64 = 768;

impl<K: HeapSize, V: HeapSize> Weighter<K, V> for Bytes {
    fn weight(&self, key: &K, value: &V) -> u64 {
        let inline = size_of::<K>().saturating_add(size_of::<V>()).saturating_add(SLOT);
        let all = inline.saturating_add(key.heap_bytes()).saturating_add(value.heap_bytes());
        u64::try_from(all).unwrap_or(u64::MAX)
    }
}

impl<K: Eq + Hash + Clone + HeapSize, V: Clone + HeapSize> BoundedCache<K, V> {
    /// A table that takes at most `bytes`. An entry that alone is too large for it is not kept.
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX).max(1);
        Self(Cache::with_weighter(entries, bytes, Bytes))
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    pub(crate) fn remove(&self, key: &K) {
        self.0.remove(key);
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Held {
        Held { entries: u64::try_from(self.0.len()).unwrap_or(u64::MAX), bytes: self.0.weight() }
    }
}
