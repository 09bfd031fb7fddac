//! `portreeve test`.

pub(super) mod assumed;
mod coverage;
mod endpoints;
mod report;
pub(super) mod run;
pub(super) mod suite;

use std::{io::Write, path::PathBuf};

use clap::ValueEnum;
use portreeve_compiler::{
    Compiled, Diagnostic, compile,
    manifest::{Manifests, located},
};
use portreeve_crds::ConditionReason;
use portreeve_policy::NamespacedName;

use super::{read::each_file, validate::is_error};
use crate::args::Outcome;
use assumed::Issuers;
use coverage::Coverage;
use report::{CaseResult, TestReport};
use suite::Suite;

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArguments {
    /// Manifests and PolicyTest documents, folders of them, or - for standard input.
    #[arg(required_unless_present = "schema")]
    paths: Vec<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = TestOutput::Text)]
    output: TestOutput,
    /// Fail when less than this share of rules and conditions was tried.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    coverage: u8,
    /// Print the JSON Schema of PolicyTest, for editors.
    #[arg(long, conflicts_with = "paths")]
    schema: bool,
}

/// Output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TestOutput {
    /// For programs.
    Json,
    /// JUnit XML, as pipelines show it.
    Junit,
    /// For people.
    Text,
}

/// Runs every case. Errors in manifests are failures: what they refuse would be refused for the wrong reason.
pub(crate) fn run(arguments: &TestArguments, out: &mut impl Write) -> anyhow::Result<Outcome> {
    if arguments.schema {
        writeln!(out, "{}", serde_json::to_string_pretty(&suite::schema())?)?;
        return Ok(Outcome::Clean);
    }
    let (mut manifests, mut suites, mut faults) = (Manifests::default(), Vec::new(), Vec::new());
    let unreadable = each_file(&arguments.paths, |name, bytes| {
        manifests.read_bytes(name, bytes);
        for document in located(&String::from_utf8_lossy(bytes)) {
            match suite::read(name, &document) {
                None => {}
                Some(Ok(found)) => suites.push(found),
                Some(Err(found)) => faults.extend(found),
            }
        }
    });
    faults.extend(unreadable.iter().map(|fault| format!("{fault}")));
    faults.extend(manifests.faults.iter().map(ToString::to_string));
    let issuers = assumed::assume(&mut manifests.inventory)?;
    let pods = pods(&mut manifests, &suites, &mut faults);
    let compiled = compile(&manifests.inventory, assumed::OPTIONS);
    faults.extend(errors(&manifests, &compiled));
    let (cases, coverage) = run_all(&suites, &pods, &compiled, &issuers, &mut faults);
    if cases.is_empty() && faults.is_empty() {
        faults.push("no case found: the paths hold no PolicyTest of test.portreeve.dev/v1alpha1".to_owned());
    }
    let report = TestReport { faults, cases, coverage, threshold: usize::from(arguments.coverage) };
    match arguments.output {
        TestOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report.json())?)?,
        TestOutput::Junit => report.junit(out)?,
        TestOutput::Text => report.text(out)?,
    }
    out.flush()?;
    Ok(match report.is_clean() {
        true => Outcome::Clean,
        false if !unreadable.is_empty() => Outcome::Unreadable,
        false => Outcome::Findings,
    })
}

/// The pod of each document; `None` where its namespace has no valid name.
fn pods(manifests: &mut Manifests, suites: &[Suite], faults: &mut Vec<String>) -> Vec<Option<NamespacedName>> {
    let mut pods = Vec::new();
    for (i, Suite { spec, place, .. }) in suites.iter().enumerate() {
        let name = NamespacedName::new(&spec.pod.namespace, &format!("portreeve-test-{i}"));
        match &name {
            Ok(name) => {
                manifests.inventory.pods.insert(name.clone(), assumed::pod(spec.pod.labels.clone()));
            }
            Err(fault) => faults.push(format!("{place}: spec.pod.namespace: {fault}")),
        }
        pods.push(name.ok());
    }
    pods
}

/// Every error of an object that a file can cure, at its place. What could not be read is a fault already.
fn errors(manifests: &Manifests, compiled: &Compiled) -> Vec<String> {
    let known = |found: &&Diagnostic| found.reason != ConditionReason::UnsupportedField;
    let errors = compiled.diagnostics.iter().filter(|found| is_error(found)).filter(known);
    let told = errors.map(|found| match manifests.place(found) {
        Some(place) => format!("{place}: {found}"),
        None => found.to_string(),
    });
    told.collect()
}

fn run_all(
    suites: &[Suite],
    pods: &[Option<NamespacedName>],
    compiled: &Compiled,
    issuers: &Issuers,
    faults: &mut Vec<String>,
) -> (Vec<CaseResult>, Coverage) {
    let (mut cases, mut coverage) = (Vec::new(), Coverage::default());
    for (Suite { name: suite, spec, places, place }, pod) in suites.iter().zip(pods) {
        let Some(pod) = pod else { continue };
        let Some(snapshot) = compiled.snapshots.get(pod).filter(|snapshot| !snapshot.routes.is_empty()) else {
            faults.push(format!(
                "{place}: spec.pod: no ApiRoute selects a pod of namespace {} with these labels",
                spec.pod.namespace
            ));
            continue;
        };
        coverage.add(snapshot);
        for (case, place) in spec.cases.iter().zip(places) {
            let verdict = run::run_case(spec, case, snapshot, issuers);
            verdict.records.iter().for_each(|record| coverage.note(record));
            let (suite, name, place) = (suite.clone(), case.name.clone(), place.clone());
            cases.push(CaseResult { suite, name, place, verdict });
        }
    }
    (cases, coverage)
}
