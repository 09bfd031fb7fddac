//! Lengths of time in whole milliseconds.

use std::{num::NonZeroU64, time::Duration};

use serde::{Deserialize, Serialize};

/// A length of time in milliseconds, never zero: zero would have to mean "at once" or "for ever".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(NonZeroU64);

impl Millis {
    /// `None` for zero.
    pub fn new(milliseconds: u64) -> Option<Self> {
        NonZeroU64::new(milliseconds).map(Self)
    }

    /// This many milliseconds, or one for zero.
    pub const fn at_least_one(milliseconds: u64) -> Self {
        match NonZeroU64::new(milliseconds) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The same length of time in the standard form.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.get())
    }
}
