//! `hostile JSON`: hostile peers beside honest ones, against what `e2e/hostile/run` started.

use std::process::ExitCode;

use anyhow::Context as _;
use portreeve_e2e::{hostile::Fixture, say};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let told = std::env::args().nth(1).context("start it by e2e/hostile/run")?;
    let fixture = Fixture::read(&serde_json::from_str(&told)?)?;
    let (passed, failed) = fixture.run().await?;
    say(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
