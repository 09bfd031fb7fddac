//! No fault opens anything: objects are damaged one field at a time, and requests that were refused before stay refused.
//!
//! Every golden input of the compiler is a case, as it is and with neighbors that are open to everybody, so that whatever
//! an object no longer covers has somewhere to fall to. Requests go through the proxy's own pipeline, in process.

mod case;
mod edits;
mod judge;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
pub use case::{Case, cases};
use judge::{Judge, Outcome};

/// Draws numbers; the same seed draws the same ones.
pub struct Draw(u64);

impl Draw {
    /// A draw from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`; 0 when that is 0.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(usize::MAX).checked_rem(bound).unwrap_or(0)
    }
}

/// What a run found.
#[derive(Debug, Default)]
pub struct Tally {
    /// Damaged inputs that were compiled.
    pub mutants: u64,
    /// Of these, those in which the compiler found a fault.
    pub faulty: u64,
    /// Requests that were decided before and after.
    pub pairs: u64,
    /// Requests that a fault opened, each with what to do to see it again.
    pub opened: Vec<String>,
    /// Mutants with such a request.
    pub failed: u64,
    /// Requests of which `diff` does not say that an edit, made or undone, opens them.
    pub missed: Vec<String>,
    /// Mutants with such a request.
    pub unsound: u64,
    /// Edits that are no fault and open something, counted by their kind: they say something else, and mean it.
    pub loosened: BTreeMap<String, u64>,
}

/// Runs over all cases, again and again, until so many pairs were judged.
pub async fn run(folder: &std::path::Path, pairs: u64, seed: u64) -> Result<Tally> {
    judge::check_key()?;
    let cases = cases(folder)?;
    let mut draw = Draw::new(seed);
    let mut tally = Tally::default();
    let mut judge = Judge::start().await?;
    let mut known = Vec::with_capacity(cases.len());
    for case in &cases {
        known.push(judge.know(case).await.with_context(|| case.name.clone())?);
    }
    'rounds: loop {
        for (case, base) in cases.iter().zip(&known) {
            for edit in edits::some(case, 4, &mut draw) {
                let outcome = judge.compare(case, base, &edit, &mut draw).await?;
                let Outcome { faulty, pairs: judged, opened, missed } = outcome;
                tally.unsound = tally.unsound.saturating_add(u64::from(!missed.is_empty()));
                tally.missed.extend(missed.into_iter().map(|one| format!("{}: {}: {one}", case.name, edit.what)));
                tally.mutants = tally.mutants.saturating_add(1);
                tally.faulty = tally.faulty.saturating_add(u64::from(faulty));
                tally.pairs = tally.pairs.saturating_add(judged);
                tally.failed = tally.failed.saturating_add(u64::from(faulty && !opened.is_empty()));
                for request in opened {
                    if faulty {
                        tally.opened.push(format!("{}: {}: {request}", case.name, edit.what));
                    } else {
                        let count = tally.loosened.entry(edit.kind.clone()).or_default();
                        *count = count.saturating_add(1);
                    }
                }
                if tally.pairs >= pairs {
                    break 'rounds;
                }
            }
        }
    }
    Ok(tally)
}
