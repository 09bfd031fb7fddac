//! `portreeve validate`.

use std::{io::Write, path::PathBuf};

use portreeve_compiler::{Diagnostic, Severity, compile, manifest::Manifests};
use portreeve_crds::{ConditionReason, ObjectKind};
use serde_json::json;

use super::read::{manifests, options};
use crate::{
    args::{Outcome, Output},
    printable::printable,
};

/// One line of the report.
struct Finding {
    place: String,
    level: &'static str,
    reason: String,
    message: String,
}

/// Prints every finding; notes alone leave the outcome clean.
pub(crate) fn run(
    paths: &[PathBuf],
    output: Output,
    allow_http: bool,
    out: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let manifests = manifests(paths)?;
    let findings = findings(&manifests, allow_http);
    let errors = findings.iter().filter(|finding| finding.level == "error").count();
    match output {
        Output::Json => {
            let line = |finding: &Finding| {
                json!({
                    "place": finding.place, "level": finding.level, "reason": finding.reason,
                    "message": finding.message,
                })
            };
            writeln!(
                out,
                "{}",
                json!({ "errors": errors, "findings": findings.iter().map(line).collect::<Vec<_>>() })
            )?;
        }
        Output::Text => {
            for Finding { place, level, reason, message } in &findings {
                let (place, message) = (printable(place), printable(message));
                writeln!(out, "{place}: {level}: {message} [{reason}]")?;
            }
            let objects = manifests.inventory.routes.len()
                + manifests.inventory.policies.len()
                + manifests.inventory.token_services.len()
                + manifests.inventory.registrations.len();
            writeln!(out, "{objects} objects, {errors} errors, {} notes", findings.len() - errors)?;
        }
    }
    Ok(if errors == 0 { Outcome::Clean } else { Outcome::Findings })
}

fn findings(manifests: &Manifests, allow_http: bool) -> Vec<Finding> {
    let fault = |fault: &portreeve_compiler::manifest::ManifestFault| Finding {
        place: fault.place.to_string(),
        level: "error",
        reason: "Unreadable".to_owned(),
        message: fault.message.clone(),
    };
    let compiled = compile(&manifests.inventory, options(allow_http));
    let told = |diagnostic: &Diagnostic| Finding {
        place: manifests.place(diagnostic).map_or_else(|| diagnostic.object.to_string(), |place| place.to_string()),
        level: if is_error(diagnostic) { "error" } else { "note" },
        reason: diagnostic.reason.to_string(),
        message: diagnostic.to_string(),
    };
    // What could not be read is a fault already.
    let known = |diagnostic: &&Diagnostic| diagnostic.reason != ConditionReason::UnsupportedField;
    manifests.faults.iter().map(fault).chain(compiled.diagnostics.iter().filter(known).map(told)).collect()
}

/// Keys and Secrets are not in the tree, and should not be: whether they exist is for the operator to say.
fn is_error(diagnostic: &Diagnostic) -> bool {
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
