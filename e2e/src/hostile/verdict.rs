//! What holds of a class, and how it is told.

use std::time::Duration;

use super::{RECOVERY, attack::Sent, classes::Class, honest::Figures};

/// What was seen of one server under one class.
pub(super) struct Measured {
    pub(super) before: Figures,
    pub(super) during: Figures,
    pub(super) after: Figures,
    pub(super) recovered: Option<Duration>,
    pub(super) sent: Sent,
    pub(super) cpu: f64,
    /// Bytes before, at the most, and afterwards.
    pub(super) memory: (u64, u64, u64),
}

pub(super) struct Verdict<'a> {
    pub(super) class: &'a Class,
    pub(super) ours: Measured,
    pub(super) theirs: Option<Measured>,
    /// Seconds of processor time of a plain request.
    pub(super) plain: f64,
}

/// Most bytes of memory that a class may add.
const GROWTH: u64 = 64 << 20;

/// Most bytes held for each byte sent. Below so many bytes in all it is no measure.
const AMPLIFICATION: u64 = 10;
const NOISE: u64 = 16 << 20;

/// Most processor time of a hostile request, as a multiple of a plain one.
const COST: f64 = 10.0;

/// How many times slower honest requests may get, and what is no measure on a machine that is shared.
const SLOWER: u32 = 3;
const QUICK: Duration = Duration::from_millis(30);

/// Memory has to come back to so many hundredths of before.
const BACK: u64 = 120;

impl Measured {
    fn growth(&self) -> u64 {
        self.memory.1.saturating_sub(self.memory.0)
    }

    fn failed(&self) -> usize {
        self.during.failed + self.after.failed
    }

    fn told(&self) -> String {
        format!("{:>7.1} {:>7.1} {:>6}", millis(self.during.p99), mebibytes(self.growth()), self.failed())
    }
}

impl Verdict<'_> {
    pub(super) const HEAD: &'static str = "\
| class                          | sent MiB | requests | RSS + MiB | held/sent | CPU/plain | p99 ms before, during | failed | recovery s | RSS after % | nginx: p99, RSS +, failed |
|--------------------------------|---------:|---------:|----------:|----------:|----------:|----------------------:|-------:|-----------:|------------:|--------------------------:|";

    pub(super) fn line(&self) -> String {
        let ours = &self.ours;
        format!(
            "| {:<30} | {:>8.1} | {:>8} | {:>9.1} | {:>9.1} | {:>9.1} | {:>9.1}, {:>9.1}  | {:>6} | {:>10} | {:>11} | {:>25} |",
            self.class.name,
            mebibytes(ours.sent.bytes),
            ours.sent.requests,
            mebibytes(ours.growth()),
            self.amplification(),
            self.cost(),
            millis(ours.before.p99),
            millis(ours.during.p99),
            ours.failed(),
            ours.recovered.map_or_else(|| "never".to_owned(), |time| format!("{:.1}", time.as_secs_f64())),
            ours.memory.2.saturating_mul(100) / ours.memory.0.max(1),
            self.theirs.as_ref().map_or_else(String::new, Measured::told),
        )
    }

    /// What does not hold.
    pub(super) fn faults(&self) -> Vec<String> {
        let ours = &self.ours;
        let mut faults = Vec::new();
        let mut hold = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        hold(ours.before.failed == 0, format!("{} honest requests failed before it began", ours.before.failed));
        hold(ours.during.requests > 0, "no honest request was answered at all".to_owned());
        hold(ours.failed() == 0, format!("{} honest requests failed", ours.failed()));
        hold(ours.growth() <= GROWTH, format!("{:.0} MiB of memory", mebibytes(ours.growth())));
        hold(
            ours.growth() <= NOISE || ours.growth() <= ours.sent.bytes.saturating_mul(AMPLIFICATION),
            format!("{:.1} bytes held for each byte sent", self.amplification()),
        );
        hold(self.cost() <= COST, format!("a hostile request costs {:.1} plain ones", self.cost()));
        let theirs = self.theirs.as_ref().map_or(Duration::ZERO, |theirs| theirs.during.p99);
        let bound = (ours.before.p99 * SLOWER).max(QUICK).max(theirs);
        hold(ours.during.p99 <= bound, format!("honest p99 of {:.1} ms", millis(ours.during.p99)));
        hold(ours.recovered.is_some_and(|time| time <= RECOVERY), "no recovery in time".to_owned());
        let back = ours.memory.0 / 100 * BACK;
        hold(
            ours.memory.2 <= back.max(ours.memory.0 + (8 << 20)),
            format!("{:.0} MiB afterwards, {:.0} before", mebibytes(ours.memory.2), mebibytes(ours.memory.0)),
        );
        faults
    }

    #[expect(clippy::cast_precision_loss, reason = "ratios of byte counts")]
    fn amplification(&self) -> f64 {
        self.ours.growth() as f64 / self.ours.sent.bytes.max(1) as f64
    }

    /// Honest requests are taken out at their known price.
    #[expect(clippy::cast_precision_loss, reason = "ratios of counts")]
    fn cost(&self) -> f64 {
        if self.ours.sent.requests == 0 {
            return 0.0;
        }
        let honest = self.ours.during.requests as f64 * self.plain;
        ((self.ours.cpu - honest) / self.ours.sent.requests as f64 / self.plain).max(0.0)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "byte counts for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
