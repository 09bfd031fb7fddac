//! What values take on the heap, so that tables can be bounded in bytes and not in numbers of things of unknown size.
//! The figures include what allocators round up on average; the tests of this module hold them against it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::HeaderValue;
use serde_json::{Map, Value};

/// Bytes that a value holds beside itself.
pub(crate) trait HeapSize {
    /// Bytes on the heap, room between allocations included.
    fn heap_bytes(&self) -> usize;
}

/// What an allocation costs beside its content: the allocator's header, and rounding to the next size.
const ALLOCATION: usize = 16;

/// Bytes of one allocation of this length.
pub(crate) fn allocation(length: usize) -> usize {
    if length == 0 { 0 } else { length.saturating_add(length / 6).saturating_add(ALLOCATION) }
}

impl HeapSize for [u8; 32] {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl<T: HeapSize> HeapSize for Arc<T> {
    fn heap_bytes(&self) -> usize {
        let counts = size_of::<[usize; 2]>();
        allocation(size_of::<T>().saturating_add(counts)).saturating_add(T::heap_bytes(self))
    }
}

impl<T: HeapSize> HeapSize for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<T: HeapSize, E> HeapSize for Result<T, E> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl HeapSize for HeaderValue {
    /// The text, and the count that is made when it is first shared.
    fn heap_bytes(&self) -> usize {
        allocation(self.len()).saturating_add(allocation(size_of::<[usize; 3]>()))
    }
}

impl HeapSize for Value {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::String(text) => allocation(text.len()),
            Self::Array(list) => {
                let inner = list.iter().map(Self::heap_bytes);
                allocation(grown(list.len()).saturating_mul(size_of::<Self>())).saturating_add(inner.sum())
            }
            Self::Object(members) => members.heap_bytes(),
        }
    }
}

impl HeapSize for Map<String, Value> {
    /// An entry is a hash, a name, a value and its place in the index.
    fn heap_bytes(&self) -> usize {
        // A hash table is at most seven eighths full; the entries stand in a list as long as that.
        let places = match self.len() {
            0 => 0,
            length => length.saturating_mul(8).div_ceil(7).next_power_of_two().max(4),
        };
        let entries = allocation(places.saturating_mul(size_of::<(usize, String, Value)>()));
        let index = allocation(places.saturating_mul(size_of::<(usize, u8)>()));
        let inner = self.iter().map(|(name, value)| allocation(name.len()).saturating_add(value.heap_bytes()));
        entries.saturating_add(index).saturating_add(inner.sum())
    }
}

/// Places in a list that grew by doubling.
fn grown(length: usize) -> usize {
    if length == 0 { 0 } else { length.next_power_of_two().max(4) }
}

/// Bytes taken out of the process's budget for what is derived from callers' claims; given back when dropped.
#[derive(Debug)]
pub(crate) struct MemoryBudget(usize);

/// Most bytes of derived values: what finds no room is made anew for each request.
const BUDGET: usize = 32 << 20;

/// Like the allocator's own counts: one budget for the process, whichever table a caller's facts stand in.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl MemoryBudget {
    /// `None` when that much is not left.
    pub(crate) fn take(bytes: usize) -> Option<Self> {
        let more = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= BUDGET);
        TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then_some(Self(bytes))
    }

    /// Bytes taken now.
    pub(crate) fn taken() -> usize {
        TAKEN.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryBudget {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
