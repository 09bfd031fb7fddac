//! One line for each check, and a last line that counts them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

use crate::say;

/// No check takes longer, whatever hangs.
const LONGEST: Duration = Duration::from_mins(4);

/// Counts what passed and what failed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    /// Runs one check; its text is what was seen, for the line.
    pub(crate) async fn check(&mut self, name: &str, check: impl Future<Output = Result<String>>) -> bool {
        self.need(name, async { Ok((check.await?, ())) }).await.is_some()
    }

    /// A check whose result others need.
    pub(crate) async fn need<T>(&mut self, name: &str, check: impl Future<Output = Result<(String, T)>>) -> Option<T> {
        let from = Instant::now();
        let found = timeout(LONGEST, check).await;
        let found = found.unwrap_or_else(|_| Err(anyhow!("no result after {} s", LONGEST.as_secs())));
        let took = shown(from.elapsed());
        match found {
            Ok((seen, value)) => {
                self.passed += 1;
                say(&format!("ok      {name} ({took}){}{seen}", if seen.is_empty() { "" } else { ": " }));
                Some(value)
            }
            Err(fault) => {
                self.failed += 1;
                say(&format!("FAILED  {name} ({took}): {fault:#}"));
                None
            }
        }
    }

    /// A check that cannot be made here.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        say(&format!("skipped {name}: {why}"));
    }

    /// The last line. Whether all went well.
    pub(crate) fn finish(&self) -> bool {
        if self.skipped > 0 {
            say(&format!("{} skipped", self.skipped));
        }
        say(&format!("{} passed, {} failed", self.passed, self.failed));
        self.failed == 0 && self.passed > 0
    }
}

/// Asks again until the answer is good; the last fault is told when time is up. Gives the time that it took, too.
pub(crate) async fn eventually<T>(limit: Duration, mut probe: impl AsyncFnMut() -> Result<T>) -> Result<(T, Duration)> {
    let from = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok((value, from.elapsed())),
            Err(fault) if from.elapsed() >= limit => {
                return Err(fault.context(format!("not within {}", shown(limit))));
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A time for people.
pub(crate) fn shown(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{} ms", time.as_millis()) } else { format!("{} s", time.as_secs()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_and_keeps_the_last_fault() {
        let mut report = Report::default();
        assert!(report.check("good", async { Ok("seen".to_owned()) }).await);
        assert!(report.finish());
        let late = eventually(Duration::ZERO, async || -> Result<()> { Err(anyhow!("cause")) }).await.unwrap_err();
        assert_eq!(format!("{late:#}"), "not within 0 ms: cause");
        assert!(!report.check("bad", async { Err(late) }).await);
        assert!(!report.finish());
    }
}
