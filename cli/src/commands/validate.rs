//! `portreeve validate`.

mod formats;

use std::{
    collections::HashMap,
    io::{self, Write},
    path::PathBuf,
};

use portreeve_compiler::{Diagnostic, Severity, compile, manifest::Manifests};
use portreeve_crds::{ConditionReason, ObjectKind};
use serde_json::json;

use super::read::{ReadError, manifests, options};
use crate::{
    args::{Outcome, Output},
    printable::printable,
};

/// What the command line says.
pub(crate) struct Settings {
    pub(crate) output: Output,
    pub(crate) allow_http: bool,
    pub(crate) require_objects: bool,
}

/// One line of the report.
struct Finding {
    place: String,
    level: &'static str,
    reason: String,
    message: String,
    /// Whether the place is a file as a whole.
    of_file: bool,
    /// Which finding this one only follows from.
    cause: Option<usize>,
}

/// What is said of a set of manifests.
struct Report {
    objects: usize,
    findings: Vec<Finding>,
}

/// Prints every finding; notes and warnings alone leave the outcome clean.
pub(crate) fn run(paths: &[PathBuf], settings: &Settings, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (manifests, unreadable) = manifests(paths);
    let mut findings: Vec<_> = unreadable.iter().map(unreadable_file).collect();
    findings.extend(findings_of(&manifests, settings.allow_http));
    let inventory = &manifests.inventory;
    let objects = inventory.routes.len()
        + inventory.policies.len()
        + inventory.token_services.len()
        + inventory.registrations.len()
        + inventory.unreadable.len();
    if objects == 0 && findings.is_empty() {
        findings.push(nothing_checked(paths, settings.require_objects));
    }
    note_causes(&mut findings);
    let report = Report { objects, findings };
    match settings.output {
        Output::Github => report.github(out)?,
        Output::Json => writeln!(out, "{}", report.json())?,
        Output::Sarif => writeln!(out, "{}", report.sarif())?,
        Output::Text => report.write(out)?,
    }
    out.flush()?;
    Ok(match report.errors() {
        0 => Outcome::Clean,
        _ if !unreadable.is_empty() => Outcome::Unreadable,
        _ => Outcome::Findings,
    })
}

fn unreadable_file(fault: &ReadError) -> Finding {
    Finding {
        place: fault.path.display().to_string(),
        level: "error",
        reason: "Unreadable".to_owned(),
        message: format!("cannot be read: {}", fault.error),
        of_file: true,
        cause: None,
    }
}

fn nothing_checked(paths: &[PathBuf], required: bool) -> Finding {
    Finding {
        place: paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        level: if required { "error" } else { "warning" },
        reason: "NoObjects".to_owned(),
        message: "no Portreeve object found; nothing was checked".to_owned(),
        of_file: false,
        cause: None,
    }
}

fn findings_of(manifests: &Manifests, allow_http: bool) -> Vec<Finding> {
    let fault = |fault: &portreeve_compiler::manifest::ManifestFault| Finding {
        place: fault.place.to_string(),
        level: "error",
        reason: "Unreadable".to_owned(),
        message: fault.message.clone(),
        of_file: true,
        cause: None,
    };
    let compiled = compile(&manifests.inventory, options(allow_http));
    let told = |diagnostic: &Diagnostic| Finding {
        place: manifests.place(diagnostic).map_or_else(|| diagnostic.object.to_string(), |place| place.to_string()),
        level: if is_error(diagnostic) { "error" } else { "note" },
        reason: diagnostic.reason.to_string(),
        message: diagnostic.to_string(),
        of_file: false,
        cause: None,
    };
    // What could not be read is a fault already.
    let known = |diagnostic: &&Diagnostic| diagnostic.reason != ConditionReason::UnsupportedField;
    manifests.faults.iter().map(fault).chain(compiled.diagnostics.iter().filter(known).map(told)).collect()
}

/// Keys and Secrets are not in the tree, and should not be: whether they exist is for the operator to say.
pub(super) fn is_error(diagnostic: &Diagnostic) -> bool {
    use ConditionReason as R;
    let offline = match diagnostic.object.kind {
        ObjectKind::ClientRegistration | ObjectKind::TokenService => true,
        ObjectKind::ApiPolicy | ObjectKind::ApiRoute => false,
    };
    let unknowable =
        matches!(diagnostic.reason, R::AwaitingKeys | R::AwaitingRegistration | R::TokenServiceUnavailable)
            || (offline && diagnostic.reason == R::UnresolvedReference);
    diagnostic.severity == Severity::Error && !unknowable
}

/// A rule that refuses everything names the policy or the document that makes it do so. Where that has a finding of its
/// own, curing the one cures the other.
fn note_causes(findings: &mut [Finding]) {
    let (mut by_place, mut by_object) = (HashMap::new(), HashMap::new());
    for (i, finding) in findings.iter().enumerate().filter(|(_, finding)| consequence(&finding.message).is_none()) {
        by_place.entry(finding.place.clone()).or_insert(i);
        if let Some(object) = object(&finding.message) {
            by_object.entry(object.to_owned()).or_insert(i);
        }
    }
    for finding in findings {
        let Some(cause) = consequence(&finding.message) else { continue };
        let of_object = object(cause).and_then(|object| by_object.get(object));
        let of_place = || cause.split_once(": ").and_then(|(place, _)| by_place.get(place));
        finding.cause = of_object.or_else(of_place).copied();
    }
}

/// The words after which a rule says why it refuses.
fn consequence(message: &str) -> Option<&str> {
    message.split_once(" refuses everything: ").map(|(_, cause)| cause)
}

/// `ApiPolicy shop/orders` at the beginning of a message.
fn object(message: &str) -> Option<&str> {
    let (kind, rest) = message.split_once(' ')?;
    ObjectKind::parse(kind)?;
    let name = rest.split([' ', ':']).next()?;
    message.get(..kind.len().saturating_add(1).saturating_add(name.len()))
}

impl Report {
    fn errors(&self) -> usize {
        self.count("error", |_| true)
    }

    fn count(&self, level: &str, which: impl Fn(&Finding) -> bool) -> usize {
        self.findings.iter().filter(|finding| finding.level == level && which(finding)).count()
    }

    /// All findings, the ones that only follow from others too.
    fn json(&self) -> serde_json::Value {
        let line = |finding: &Finding| {
            let cause = finding.cause.and_then(|cause| self.findings.get(cause)).map(|cause| &cause.place);
            json!({
                "place": finding.place, "level": finding.level, "reason": finding.reason,
                "message": finding.message, "followsFrom": cause,
            })
        };
        json!({ "errors": self.errors(), "findings": self.findings.iter().map(line).collect::<Vec<_>>() })
    }

    /// Causes, with how many findings follow from each.
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut follow: HashMap<usize, usize> = HashMap::new();
        for cause in self.findings.iter().filter_map(|finding| finding.cause) {
            let count = follow.entry(cause).or_default();
            *count = count.saturating_add(1);
        }
        for (i, finding) in self.findings.iter().enumerate().filter(|(_, finding)| finding.cause.is_none()) {
            let Finding { place, level, reason, message, .. } = finding;
            let (place, message) = (printable(place), printable(message));
            writeln!(out, "{place}: {level}: {message} [{reason}]")?;
            match follow.get(&i) {
                Some(1) => writeln!(out, "  1 more follows from this")?,
                Some(count) => writeln!(out, "  {count} more follow from this")?,
                None => {}
            }
        }
        let (errors, notes) = (self.count("error", |finding| finding.cause.is_none()), self.count("note", |_| true));
        let counted = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (objects, errors, notes) =
            (counted(self.objects, "object"), counted(errors, "error"), counted(notes, "note"));
        writeln!(out, "{objects}, {errors}, {notes}")
    }
}
