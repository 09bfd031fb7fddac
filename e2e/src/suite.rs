//! The suite: what users were promised, on a cluster with the chart installed and the images loaded.
//!
//! In: `KUBECONFIG`, the issuer of a token service that pods reach, and its initial access token. Out: a line for each
//! check and `N passed, N failed`. Times are told and never judged; whatever takes its time is asked for again until a
//! limit.

mod admission;
mod deletion;
mod fixture;
mod fleet;
mod install;
mod lifecycle;
mod outage;
mod registration;
mod requests;
mod secrets;

use std::env;

use anyhow::{Context as _, Result};

use crate::report::Report;
use fixture::Fixture;

/// What the suite has to be told.
pub struct Settings {
    issuer: String,
    initial_access_token: String,
    gateway_access_token: String,
}

impl Settings {
    /// From the environment, which `e2e/run` sets.
    pub fn from_environment() -> Result<Self> {
        let read = |name| env::var(name).with_context(|| format!("{name} is missing: start the suite by e2e/run"));
        Ok(Self {
            issuer: read("PORTREEVE_E2E_ISSUER")?,
            initial_access_token: read("PORTREEVE_E2E_INITIAL_ACCESS_TOKEN")?,
            gateway_access_token: read("PORTREEVE_E2E_GATEWAY_ACCESS_TOKEN")?,
        })
    }
}

/// Runs all checks, from the root of the repository. Whether all passed.
pub async fn run(settings: Settings) -> Result<bool> {
    let mut report = Report::default();
    let fixture = Fixture::new(settings.issuer, settings.initial_access_token, settings.gateway_access_token)?;
    stages(&fixture, &mut report).await;
    Ok(report.finish())
}

/// Later stages need what earlier ones set up; a stage that could not ends the run.
async fn stages(fixture: &Fixture, report: &mut Report) -> Option<()> {
    install::stage(fixture, report).await?;
    admission::stage(fixture, report).await;
    let callers = registration::stage(fixture, report).await?;
    let address = requests::rollout(fixture, report).await?;
    requests::stage(fixture, report, &callers, &address).await;
    // Before pods go, for their logs go with them: those that registered, those that served, and those of the end.
    secrets::stage(fixture, report, &callers, "after registration and requests").await;
    fleet::stage(fixture, report, &callers, &address).await;
    secrets::stage(fixture, report, &callers, "after edits and faults").await;
    lifecycle::stage(fixture, report).await;
    outage::stage(fixture, report, &callers, &address).await;
    deletion::stage(fixture, report, &callers, &address).await;
    secrets::stage(fixture, report, &callers, "at the end").await;
    Some(())
}
