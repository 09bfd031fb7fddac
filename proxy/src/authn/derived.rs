//! What others make of a caller's claims and want to keep as long as the claims are kept.

use std::{any::Any, fmt, sync::OnceLock};

/// Values derived from one set of claims, each under the digest of how it was made: what was derived under another
/// recipe is never handed out.
#[derive(Default)]
pub(super) struct Derivations(OnceLock<Box<Derivation>>);

struct Derivation {
    recipe: [u8; 32],
    value: Box<dyn Any + Send + Sync>,
    next: Derivations,
}

/// Most values kept with one set of claims; further ones are made anew for each request.
const MAX_KEPT: usize = 4;

impl Derivations {
    /// The value of this recipe, made now if nobody made it before; `None` when there is no room for it.
    pub(super) fn get_or_make<T: Any + Send + Sync>(&self, recipe: &[u8; 32], make: impl FnOnce() -> T) -> Option<&T> {
        let mut unused = Some(make);
        let mut place = self;
        for _ in 0..MAX_KEPT {
            if let Some(held) = place.0.get() {
                if held.recipe == *recipe {
                    return held.value.downcast_ref();
                }
                place = &held.next;
                continue;
            }
            let build = unused.take()?;
            let fresh = || Box::new(Derivation { recipe: *recipe, value: Box::new(build()), next: Self::default() });
            // Another worker may have been quicker, perhaps with another recipe.
            let held = place.0.get_or_init(fresh);
            if held.recipe == *recipe {
                return held.value.downcast_ref();
            }
            return None;
        }
        None
    }
}

impl fmt::Debug for Derivations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derivations")
    }
}

/// A copy starts with nothing derived.
impl Clone for Derivations {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What was derived follows from the claims, so it never makes a difference between them.
impl PartialEq for Derivations {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Derivations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_only_handed_out_under_its_own_recipe() {
        let held = Derivations::default();
        for number in 0..6_u8 {
            let made = held.get_or_make(&[number; 32], || u32::from(number)).copied();
            assert_eq!(made, (number < 4).then_some(u32::from(number)));
        }
        assert_eq!(held.get_or_make(&[2; 32], || 99_u32), Some(&2));
        assert_eq!(held.get_or_make(&[2; 32], || "another type"), None);
    }
}
