//! `mutate [PAIRS] [SEED]`: damages every golden input and looks for a request that a fault opens, or that opens unseen by `diff`.

use std::path::Path;

use portreeve_e2e::{mutations, say};

fn main() -> anyhow::Result<std::process::ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let pairs = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let seed = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/testdata");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = tokio::task::LocalSet::new().block_on(&runtime, mutations::run(&folder, pairs, seed))?;
    for (kind, count) in &tally.loosened {
        say(&format!("no fault, and says something else: {count:>7} requests by {kind}"));
    }
    for line in tally.opened.iter().take(20) {
        say(&format!("OPENED by a fault: {line}"));
    }
    for line in tally.missed.iter().take(20) {
        say(&format!("MISSED by diff: {line}"));
    }
    say(&format!("{} mutants, {} of them faulty; {} requests decided again", tally.mutants, tally.faulty, tally.pairs));
    // Each mutant is two checks: that no fault opens anything, and that `diff` sees what opens.
    let failed = tally.failed.saturating_add(tally.unsound);
    say(&format!("{} passed, {failed} failed", tally.mutants.saturating_mul(2).saturating_sub(failed)));
    Ok(if failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}
