//! The generic cell rate algorithm, as pure arithmetic.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// So many requests for each period, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, try_from = "RateParts", into = "RateParts")]
pub struct Rate {
    requests: NonZeroU64,
    per: Period,
    burst: NonZeroU64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RateParts {
    requests: u64,
    per: Period,
    burst: u64,
}

/// A length of time that people count by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Period {
    Second,
    Minute,
    Hour,
    Day,
}

/// A rate that means nothing, or cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// Zero, or more than can be counted.
    #[error("requests must be 1 to 1000000; to let nobody call, close the route")]
    Requests,
    /// Zero, or more than can be counted.
    #[error("burst must be 1 to 1000000")]
    Burst,
}

/// What becomes of a request under a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may pass.
    Admitted {
        /// What to remember for the key: nanoseconds on the clock of `now`.
        arrival: u64,
        /// Requests that could follow at once.
        remaining: u64,
        /// Nanoseconds until everything is there again.
        full_in: u64,
    },
    /// It may not; nothing is counted.
    Refused {
        /// Nanoseconds until one request is admitted.
        retry_in: u64,
    },
}

/// Most requests of a rate, and of a burst.
const MOST: u64 = 1_000_000;

impl Rate {
    /// A rate whose numbers can be counted.
    pub fn new(requests: u64, per: Period, burst: u64) -> Result<Self, InvalidRate> {
        let within = |number: u64| NonZeroU64::new(number).filter(|number| number.get() <= MOST);
        Ok(Self {
            requests: within(requests).ok_or(InvalidRate::Requests)?,
            per,
            burst: within(burst).ok_or(InvalidRate::Burst)?,
        })
    }

    /// Requests for each period.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Requests at once.
    pub fn burst(&self) -> u64 {
        self.burst.get()
    }

    /// The period.
    pub fn per(&self) -> Period {
        self.per
    }

    /// Decides about one request. `arrival` is what was remembered for the key, 0 for a new one; `now` is in nanoseconds
    /// on any clock. A clock that was set back delays nobody by more than the time that a whole burst takes to come back.
    pub fn admit(&self, arrival: u64, now: u64) -> Admission {
        let each = self.interval();
        let burst = self.whole_burst();
        let after = arrival.saturating_sub(now).min(burst).saturating_add(each);
        if after > burst {
            return Admission::Refused { retry_in: after.saturating_sub(burst) };
        }
        let arrival = now.saturating_add(after);
        let (remaining, full_in) = self.left(arrival, now);
        Admission::Admitted { arrival, remaining, full_in }
    }

    /// Requests that could pass at once, and nanoseconds until everything is there again.
    pub fn left(&self, arrival: u64, now: u64) -> (u64, u64) {
        let burst = self.whole_burst();
        let ahead = arrival.saturating_sub(now).min(burst);
        (burst.saturating_sub(ahead).checked_div(self.interval()).unwrap_or(0), ahead)
    }

    /// What to remember when a request that was admitted is not to count after all.
    pub fn refund(&self, arrival: u64) -> u64 {
        arrival.saturating_sub(self.interval())
    }

    /// Nanoseconds that a whole burst takes to come back.
    fn whole_burst(&self) -> u64 {
        self.interval().saturating_mul(self.burst.get())
    }

    /// Nanoseconds that one request takes to come back. Rounded up, so that never more than the rate passes.
    fn interval(&self) -> u64 {
        self.per.nanoseconds().div_ceil(self.requests.get())
    }
}

impl Period {
    /// Seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// As headers and messages spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    fn nanoseconds(self) -> u64 {
        self.seconds().saturating_mul(1_000_000_000)
    }
}

impl TryFrom<RateParts> for Rate {
    type Error = InvalidRate;

    fn try_from(parts: RateParts) -> Result<Self, InvalidRate> {
        Self::new(parts.requests, parts.per, parts.burst)
    }
}

impl From<Rate> for RateParts {
    fn from(rate: Rate) -> Self {
        Self { requests: rate.requests.get(), per: rate.per, burst: rate.burst.get() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn passes(rate: Rate, times: &[u64]) -> Vec<bool> {
        let mut arrival = 0;
        let decide = |now: &u64| match rate.admit(arrival, *now) {
            Admission::Admitted { arrival: next, .. } => {
                arrival = next;
                true
            }
            Admission::Refused { .. } => false,
        };
        times.iter().map(decide).collect()
    }

    #[test]
    fn a_burst_passes_at_once_and_comes_back_one_by_one() {
        let rate = Rate::new(10, Period::Second, 3).unwrap();
        let now = 50 * SECOND;
        assert_eq!(passes(rate, &[now; 5]), [true, true, true, false, false]);
        assert_eq!(
            rate.admit(0, now),
            Admission::Admitted { arrival: now + SECOND / 10, remaining: 2, full_in: SECOND / 10 }
        );
        let full = now + 3 * SECOND / 10;
        assert_eq!(rate.admit(full, now), Admission::Refused { retry_in: SECOND / 10 });
        assert_eq!(
            passes(rate, &[now, now, now, now + SECOND / 10 - 1, now + SECOND / 10]),
            [true, true, true, false, true]
        );
    }

    #[test]
    fn zero_and_what_cannot_be_counted_is_no_rate() {
        assert_eq!(Rate::new(0, Period::Second, 1), Err(InvalidRate::Requests));
        assert_eq!(Rate::new(1_000_001, Period::Second, 1), Err(InvalidRate::Requests));
        assert_eq!(Rate::new(1, Period::Day, 0), Err(InvalidRate::Burst));
        assert!(serde_json::from_str::<Rate>(r#"{"requests":0,"per":"second","burst":1}"#).is_err());
        for now in [0, 1, u64::MAX] {
            assert!(matches!(
                Rate::new(1, Period::Day, 1_000_000).unwrap().admit(u64::MAX, now),
                Admission::Refused { .. } | Admission::Admitted { .. }
            ));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_delays_nobody_for_longer_than_a_burst() {
        let rate = Rate::new(1, Period::Second, 5).unwrap();
        let Admission::Admitted { arrival, .. } = rate.admit(0, 1_000_000 * SECOND) else { panic!() };
        assert_eq!(rate.admit(arrival, 7 * SECOND), Admission::Refused { retry_in: SECOND });
        assert!(matches!(rate.admit(arrival, 999_999 * SECOND + 999_999_999), Admission::Admitted { .. }));
    }

    /// A bucket that holds `burst` and gets one back for each whole interval, counted exactly with every request kept.
    fn model(rate: Rate, times: &[u64]) -> Vec<bool> {
        let each = rate.interval();
        let mut admitted: Vec<u64> = Vec::new();
        let mut verdicts = Vec::new();
        for now in times {
            // Replays every admitted request: how much of the bucket is missing now?
            let (mut missing, mut last) = (0_u64, 0_u64);
            for at in &admitted {
                missing = missing.saturating_sub(at - last) + each;
                last = *at;
            }
            missing = missing.saturating_sub(now - last);
            let fits = missing + each <= each * rate.burst.get();
            if fits {
                admitted.push(*now);
            }
            verdicts.push(fits);
        }
        verdicts
    }

    proptest! {
        #[test]
        fn agrees_with_a_bucket_that_keeps_every_request(
            requests in 1_u64..2000, burst in 1_u64..20, period in 0_usize..4,
            steps in proptest::collection::vec(0_u64..3_000_000_000, 1..60),
        ) {
            let period = [Period::Second, Period::Minute, Period::Hour, Period::Day][period];
            let rate = Rate::new(requests, period, burst).unwrap();
            let mut now = 1;
            let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
            prop_assert_eq!(passes(rate, &times), model(rate, &times));
        }

        #[test]
        fn never_more_than_burst_and_rate_pass_whatever_the_clock_does_forward(
            requests in 1_u64..100, burst in 1_u64..20, steps in proptest::collection::vec(0_u64..200_000_000, 1..200),
        ) {
            let rate = Rate::new(requests, Period::Second, burst).unwrap();
            let mut now = 5;
            let times: Vec<u64> = steps.iter().map(|step| { now += step; now }).collect();
            let admitted = u64::try_from(passes(rate, &times).iter().filter(|passed| **passed).count()).unwrap();
            let elapsed = u128::from(times.last().unwrap() - times[0]);
            let bound = u128::from(burst) + elapsed * u128::from(requests) / u128::from(SECOND);
            prop_assert!(u128::from(admitted) <= bound, "{} > {}", admitted, bound);
        }
    }
}
