//! Wall-clock time as a parameter, so that expiry can be tested.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant, SystemTime},
};

/// Milliseconds since 1970, UTC.
#[derive(Default, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// A clock that can be shared.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock, which never falls behind the time that has passed since the process first asked it: what has
/// expired stays expired when somebody sets the clock back. A clock that is set forward is followed at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The first reading: of the wall clock, and of the one that nobody can set.
static FIRST: OnceLock<(UnixMillis, Instant)> = OnceLock::new();

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
        let (wall, steady) = (SystemTime::now(), Instant::now());
        let elapsed = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let (first, began) = FIRST.get_or_init(|| (wall, steady));
        not_behind(wall, *first, steady.saturating_duration_since(*began))
    }
}

fn not_behind(wall: UnixMillis, first: UnixMillis, passed: Duration) -> UnixMillis {
    wall.max(first.plus(passed))
}

impl UnixMillis {
    /// This moment and `length` more.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b7_a_clock_that_is_set_back_makes_nothing_younger() {
        let (hour, first) = (Duration::from_hours(1), UnixMillis(10_000_000));
        for (wall, passed, now) in [
            (first, Duration::ZERO, first),
            (first.plus(hour), hour, first.plus(hour)),
            // Set back by an hour, just after the start and later.
            (UnixMillis(first.0 - 3_600_000), Duration::ZERO, first),
            (first, hour, first.plus(hour)),
            // Set forward, and right again.
            (first.plus(hour), Duration::ZERO, first.plus(hour)),
            (first.plus(Duration::from_secs(1)), Duration::from_secs(1), first.plus(Duration::from_secs(1))),
        ] {
            assert_eq!(not_behind(wall, first, passed), now);
        }
    }
}
