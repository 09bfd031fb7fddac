//! `e2e-cluster`: the suite, for a cluster that `e2e/run` has prepared. Exit code 0 when all checks passed, 1 otherwise.

use std::process::ExitCode;

use portreeve_e2e::suite::{Settings, run};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let passed = run(Settings::from_environment()?).await?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
