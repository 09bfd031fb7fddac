//! Memory of the process against what it may have. Near the limit it turns work away, before the kernel ends it together
//! with everything that it is doing (H3).

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus::IntGauge;
use tokio::sync::watch;

/// Whether work is turned away at the moment.
#[derive(Debug, Clone, Default)]
pub struct Pressure {
    /// Asked for every request.
    high: Arc<AtomicBool>,
    /// For who waits for a change.
    changes: Arc<watch::Sender<bool>>,
}

/// Hundredths of the limit from which on work is turned away, and below which it is taken again.
pub(crate) const HIGH: u64 = 85;
pub(crate) const LOW: u64 = 75;

/// How often the process looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where the kernel says what a container may have: cgroups of version 2 and of version 1.
const LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

impl Pressure {
    /// Whether memory is short.
    pub fn is_high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }

    /// Tells of every change.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.changes.subscribe()
    }

    /// Takes in how much is held of how much; true when something changed. Between the two marks everything stays as it
    /// is, so that it does not change with every request.
    fn note(&self, held: u64, limit: u64) -> bool {
        let hundredths = held.saturating_mul(100) / limit.max(1);
        let high = hundredths >= HIGH || (self.is_high() && hundredths >= LOW);
        let changed = self.high.swap(high, Ordering::Relaxed) != high;
        if changed {
            self.changes.send_replace(high);
        }
        changed
    }
}

/// What the process may have, in bytes: what was set, otherwise what its container may have, if that is bounded.
pub(crate) fn limit(setting: Option<u64>) -> Option<u64> {
    setting.or_else(|| {
        let read = |file: &&str| fs::read_to_string(file).ok()?.trim().parse().ok();
        // Without a bound version 1 says a number that no machine has.
        LIMITS.iter().find_map(read).filter(|bytes| *bytes < 1 << 50)
    })
}

/// Resident bytes, as the kernel counts them.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

/// Looks again and again, for the life of the process.
pub(crate) async fn watch(pressure: Pressure, limit: u64, gauge: IntGauge) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let Some(held) = resident() else { continue };
        if pressure.note(held, limit) {
            gauge.set(i64::from(pressure.is_high()));
            if pressure.is_high() {
                tracing::warn!(held, limit, "memory is short: requests are turned away");
            } else {
                tracing::info!(held, limit, "memory is free again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h3_work_is_turned_away_near_the_limit_and_taken_again_below_it() {
        let pressure = Pressure::default();
        for (held, changes, high) in [
            (0, false, false),
            (84, false, false),
            (85, true, true),
            (80, false, true),
            (75, false, true),
            (74, true, false),
            (80, false, false),
            (200, true, true),
        ] {
            assert_eq!((pressure.note(held, 100), pressure.is_high()), (changes, high), "{held}");
        }
    }

    #[test]
    fn h3_the_process_knows_what_it_holds() {
        let before = resident().unwrap();
        let block = vec![1_u8; 64 << 20];
        assert!(resident().unwrap() > before + (48 << 20), "{}", block.len());
    }
}
