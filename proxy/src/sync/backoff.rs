//! Waiting between attempts to reach the operator.

use std::time::Duration;

/// Grows from 100 ms to 3 s; a random part keeps a fleet from coming back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait; `random` is any number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let base = 100u64.saturating_mul(1 << self.attempts.min(5)).min(3000);
        self.attempts = self.attempts.saturating_add(1);
        Duration::from_millis(base / 2 + random % (base / 2 + 1))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}
