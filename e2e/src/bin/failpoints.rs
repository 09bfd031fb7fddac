//! `failpoints`: runs of registration that end anywhere; `e2e/failpoints/run` starts the token service for it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let good = portreeve_e2e::failpoints::run().await?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
