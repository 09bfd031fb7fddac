//! Registration that ends at any await, and a network that loses what it likes, against the real token service.
//!
//! A run is a short life of one registration (created, edited, rotated, read, deleted behind our back, ended), drawn from
//! a seed. At each call of journal and transport, before and after it took effect, the process may end; it is then begun
//! anew from the journal. Requests and answers get lost, late, or replaced by 5xx. After each act the checker asks the
//! server which clients are really there. It counts:
//!
//! - orphans: clients that are there and that nobody was told of;
//! - lockouts: registrations that do not come to their end once the faults have ended, or whose token opens nothing;
//! - false ready: a result that says "registered" of a client that is not there, holds other metadata, or cannot get a
//!   token with the credentials that were handed out.

mod failpoint;
mod fake_journal;
mod faulty_transport;
mod keys;
mod random;
mod scenario;
mod server;

use std::{collections::BTreeMap, env, sync::Arc};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt, stream};

use self::{scenario::Scenario, server::TokenService};
use crate::say;

/// What is broken on purpose, so that the checker can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    /// Nothing.
    None,
    /// The journal forgets intents.
    ForgottenIntents,
    /// The journal keeps the first registration token for ever.
    StaleTokens,
    /// Updates are answered, but never reach the server.
    HollowUpdates,
}

/// What was counted.
#[derive(Debug, Clone, Default)]
struct Tally {
    runs: usize,
    orphans: usize,
    lockouts: usize,
    false_ready: usize,
    crashes: usize,
    faults: usize,
    told_orphans: usize,
    told_abandoned: usize,
    /// How often the process ended at each kind of point.
    points: BTreeMap<String, usize>,
    complaints: Vec<String>,
}

/// Runs at the same time.
const CONCURRENCY: usize = 12;

/// Runs that prove the checker, for each sabotage.
const PROOFS: u64 = 40;

/// Runs as the environment says (`RUNS`, default 1000; `SEED`, default 1), against the server whose first line
/// `TOKEN_SERVICE` holds. Tells whether all is well.
pub async fn run() -> Result<bool> {
    let number = |name: &str, default: u64| env::var(name).map_or(Ok(default), |text| text.parse().context("a number"));
    let (runs, seed) = (number("RUNS", 1000)?, number("SEED", 1)?);
    let told = env::var("TOKEN_SERVICE").context("TOKEN_SERVICE: the first line of e2e/token-service/run")?;
    let server = Arc::new(TokenService::new(&told).await?);
    prove(&server).await?;
    let tally = all(&server, seed, runs, Sabotage::None).await;
    for complaint in tally.complaints.iter().take(20) {
        say(&format!("   {complaint}"));
    }
    say(&format!(
        "{} ends of the process at {} kinds of points, {} faults on the network; told: {} possible orphans, {} clients given up",
        tally.crashes,
        tally.points.len(),
        tally.faults,
        tally.told_orphans,
        tally.told_abandoned
    ));
    for (point, count) in &tally.points {
        say(&format!("   {count:>6}  {point}"));
    }
    let Tally { runs, orphans, lockouts, false_ready, .. } = tally;
    say(&format!("registration: {runs} runs, {orphans} orphans, {lockouts} lockouts, {false_ready} false ready"));
    Ok(orphans == 0 && lockouts == 0 && false_ready == 0 && tally.complaints.is_empty())
}

/// The checker must notice what is broken on purpose, or its zeros say nothing.
async fn prove(server: &Arc<TokenService>) -> Result<()> {
    for (sabotage, what) in [
        (Sabotage::ForgottenIntents, "orphans"),
        (Sabotage::StaleTokens, "lockouts"),
        (Sabotage::HollowUpdates, "false ready"),
    ] {
        let tally = all(server, 1_000_000, PROOFS, sabotage).await;
        let found = match sabotage {
            Sabotage::ForgottenIntents => tally.orphans,
            Sabotage::StaleTokens => tally.lockouts,
            Sabotage::HollowUpdates => tally.false_ready,
            Sabotage::None => 0,
        };
        say(&format!("proof of the checker: {sabotage:?} gives {found} {what} in {PROOFS} runs"));
        if found == 0 {
            bail!("the checker does not notice {sabotage:?}");
        }
    }
    Ok(())
}

async fn all(server: &Arc<TokenService>, first: u64, runs: u64, sabotage: Sabotage) -> Tally {
    let scenario = |seed: u64| {
        let server = Arc::clone(server);
        async move {
            let mut scenario = Scenario::new(server, seed, sabotage);
            if let Err(fault) = scenario.play().await {
                scenario.tally.complaints.push(format!("run {seed}: {fault:#}"));
            }
            scenario.tally
        }
    };
    let seeds = first..first.saturating_add(runs);
    stream::iter(seeds.map(scenario))
        .buffer_unordered(CONCURRENCY)
        .fold(Tally::default(), |sum, tally| async { sum.with(tally) })
        .await
}

impl Tally {
    fn with(mut self, other: Self) -> Self {
        self.runs += 1;
        self.orphans += other.orphans;
        self.lockouts += other.lockouts;
        self.false_ready += other.false_ready;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.told_orphans += other.told_orphans;
        self.told_abandoned += other.told_abandoned;
        for (point, count) in other.points {
            *self.points.entry(point).or_default() += count;
        }
        self.complaints.extend(other.complaints);
        self
    }
}
