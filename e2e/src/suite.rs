//! The suite: what users were promised, on a cluster with the chart installed and the images loaded.
//!
//! In: `KUBECONFIG`, the issuer of a token service that pods reach, and its initial access token. Out: a line for each
//! check and `N passed, N failed`. Times are told and never judged; whatever takes its time is asked for again until a
//! limit.

mod admission;
mod bed;
mod deletion;
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
use bed::Bed;

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
    let bed = Bed::new(settings.issuer, settings.initial_access_token, settings.gateway_access_token)?;
    stages(&bed, &mut report).await;
    Ok(report.finish())
}

/// Later stages need what earlier ones set up; a stage that could not ends the run.
async fn stages(bed: &Bed, report: &mut Report) -> Option<()> {
    install::stage(bed, report).await?;
    admission::stage(bed, report).await;
    let callers = registration::stage(bed, report).await?;
    let address = requests::rollout(bed, report).await?;
    requests::stage(bed, report, &callers, &address).await;
    // Before pods go, for their logs go with them: those that registered, those that served, and those of the end.
    secrets::stage(bed, report, &callers, "after registration and requests").await;
    fleet::stage(bed, report, &callers, &address).await;
    secrets::stage(bed, report, &callers, "after edits and faults").await;
    lifecycle::stage(bed, report).await;
    outage::stage(bed, report, &callers, &address).await;
    deletion::stage(bed, report, &callers, &address).await;
    secrets::stage(bed, report, &callers, "at the end").await;
    Some(())
}
