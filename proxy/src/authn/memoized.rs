//! What others make of a caller's claims and want to keep as long as the claims are kept.

use std::{any::Any, fmt, ops::Deref, sync::OnceLock};

use crate::heap_size::{HeapSize, MemoryBudget, allocation};

/// Values derived from one set of claims, each under the digest of how it was made: what was derived under another
/// recipe is never handed out.
#[derive(Default)]
pub(super) struct MemoizedValues(OnceLock<Box<Derivation>>);

struct Derivation {
    recipe: [u8; 32],
    value: Box<dyn Any + Send + Sync>,
    next: MemoizedValues,
    _room: MemoryBudget,
}

/// A derived value.
pub(crate) enum Derived<'a, T> {
    /// Memoized with the claims: the next request finds it again.
    Memoized(&'a T),
    /// There was no room for it: made for this request.
    Fresh(T),
}

/// Most values kept with one set of claims; further ones are made anew for each request.
const MAX_KEPT: usize = 4;

impl<T> Deref for Derived<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Memoized(value) => value,
            Self::Fresh(value) => value,
        }
    }
}

impl MemoizedValues {
    /// The value of this recipe, made now if nobody made it before.
    pub(super) fn get_or_make<T>(&self, recipe: &[u8; 32], make: impl Fn() -> T) -> Derived<'_, T>
    where
        T: Any + Send + Sync + HeapSize,
    {
        let mut place = self;
        for _ in 0..MAX_KEPT {
            let Some(held) = place.0.get() else { return place.keep(recipe, make) };
            if held.recipe == *recipe {
                return held.value.downcast_ref().map_or_else(|| Derived::Fresh(make()), Derived::Memoized);
            }
            place = &held.next;
        }
        Derived::Fresh(make())
    }

    /// Keeps a value in this place, if there is room and nobody was quicker.
    fn keep<T>(&self, recipe: &[u8; 32], make: impl Fn() -> T) -> Derived<'_, T>
    where
        T: Any + Send + Sync + HeapSize,
    {
        let value = make();
        let bytes = allocation(size_of::<T>()).saturating_add(value.heap_bytes());
        let Some(room) = MemoryBudget::take(bytes.saturating_add(allocation(size_of::<Derivation>()))) else {
            return Derived::Fresh(value);
        };
        let value = Box::new(value);
        let fresh = Derivation { recipe: *recipe, value, next: Self::default(), _room: room };
        if let Err(late) = self.0.set(Box::new(fresh)) {
            // Another worker was quicker, perhaps with another recipe.
            let value = late.value.downcast();
            return Derived::Fresh(value.map_or_else(|_ignored: Box<dyn Any + Send + Sync>| make(), |value| *value));
        }
        let kept = self.0.get().and_then(|held| held.value.downcast_ref());
        kept.map_or_else(|| Derived::Fresh(make()), Derived::Memoized)
    }
}

impl fmt::Debug for MemoizedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derivations")
    }
}

/// A copy starts with nothing derived.
impl Clone for MemoizedValues {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What was derived follows from the claims, so it never makes a difference between them.
impl PartialEq for MemoizedValues {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for MemoizedValues {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Number(u32);

    struct Other(&'static str);

    impl HeapSize for Number {
        fn heap_bytes(&self) -> usize {
            0
        }
    }

    impl HeapSize for Other {
        fn heap_bytes(&self) -> usize {
            usize::MAX
        }
    }

    #[test]
    fn a_value_is_only_handed_out_under_its_own_recipe() {
        let held = MemoizedValues::default();
        for number in 0..6_u8 {
            let made = held.get_or_make(&[number; 32], || Number(number.into()));
            assert_eq!(*made, Number(number.into()));
            assert_eq!(matches!(made, Derived::Memoized(_)), number < 4);
        }
        assert_eq!(*held.get_or_make(&[2; 32], || Number(99)), Number(2));
        assert_eq!(held.get_or_make(&[2; 32], || Other("another type")).0, "another type");
    }

    #[test]
    fn what_finds_no_room_is_made_anew_each_time() {
        let held = MemoizedValues::default();
        for text in ["first", "second"] {
            let made = held.get_or_make(&[7; 32], || Other(text));
            assert!(matches!(made, Derived::Fresh(_)));
            assert_eq!(made.0, text);
        }
    }
}
