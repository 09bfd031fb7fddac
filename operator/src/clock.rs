//! Wall-clock time and random numbers as parameters, so that what depends on them can be tested.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::jiff::Timestamp;

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnixMillis(pub(crate) u64);

/// Tells the time.
pub(crate) trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// A clock that can be shared.
pub(crate) type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

impl UnixMillis {
    /// This moment and `length` more.
    pub(crate) fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// RFC 3339 in whole seconds, as Kubernetes writes times.
    pub(crate) fn rfc3339(self) -> String {
        rfc3339(self.0 / 1000)
    }

    /// As a timestamp of the API.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(i64::try_from(self.0).unwrap_or(i64::MAX)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Seconds since 1970 in RFC 3339.
pub(crate) fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Any number; for waits that should not be in step, never for secrets.
pub(crate) fn any_number() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// `length`, shortened by up to a fifth.
pub(crate) fn jittered(length: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 200).unwrap_or(0);
    length.saturating_sub(length * part / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_kubernetes_does() {
        assert_eq!(UnixMillis(1_700_000_000_123).rfc3339(), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn jitter_shortens_by_a_fifth_at_most() {
        for random in [0, 1, 199, u64::MAX] {
            let length = jittered(Duration::from_secs(10), random);
            assert!(length > Duration::from_secs(8) && length <= Duration::from_secs(10));
        }
    }
}
