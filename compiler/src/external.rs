//! Decision points of an ApiPolicy: URL, authorities and names checked.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::{
    ConditionReason, ObjectRef,
    v1alpha1::{ExternalSpec, FailureModeSpec},
};
use portreeve_policy::{ClaimPath, DecisionProtocol, ExternalRule, FailureMode};

use crate::{Diagnostic, Inventory, Options, duration::parse_duration, resolve::ca_bundle, validate::check_url};

const PATH: &str = "spec.authorization.external";

/// Fields that no decision point may set: they are ours, or belong to the connection.
const RESERVED: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "forwarded",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Names of header fields in lower case. Where some are reserved, so are our own.
fn names(
    fault: &mut impl FnMut(String, ConditionReason, String),
    field: &str,
    list: &[String],
    reserved: &[&str],
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (i, name) in list.iter().enumerate() {
        let lower = name.to_ascii_lowercase();
        let legal = !lower.is_empty() && lower.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ours = lower.starts_with("portreeve-") || lower.starts_with("x-forwarded-");
        let at = format!("{PATH}.{field}[{i}]");
        if !legal {
            let message = format!("{name:?} is not a field name: letters, digits and '-'");
            fault(at, ConditionReason::Invalid, message);
        } else if !reserved.is_empty() && (ours || reserved.contains(&lower.as_str())) {
            fault(at, ConditionReason::Invalid, format!("{name} is not for a decision point to set"));
        }
        found.insert(lower);
    }
    found
}

/// The block in its final form, or every fault.
pub(crate) fn resolve_external(
    inventory: &Inventory,
    options: Options,
    object: &ObjectRef,
    spec: &ExternalSpec,
) -> Result<ExternalRule, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut fault = |path: String, reason: ConditionReason, message: String| {
        faults.push(Diagnostic::error(object, path, reason, message));
    };
    let invalid = ConditionReason::Invalid;
    let chosen = match (&spec.authzen, &spec.opa, &spec.xacml) {
        (Some(point), None, None) => Some((DecisionProtocol::AuthZen, "authzen", point)),
        (None, Some(point), None) => Some((DecisionProtocol::Opa, "opa", point)),
        (None, None, Some(point)) => Some((DecisionProtocol::Xacml, "xacml", point)),
        _ => {
            fault(PATH.to_owned(), invalid, "say exactly one of authzen, opa and xacml".to_owned());
            None
        }
    };
    if let Some((_, field, point)) = chosen
        && let Err(message) = check_url(&point.url, options)
    {
        fault(format!("{PATH}.{field}.url"), invalid, message);
    }
    let timeout = parse_duration(&spec.timeout);
    if timeout.is_none() {
        let message = format!("{:?} is not a duration such as 500ms, above zero", spec.timeout);
        fault(format!("{PATH}.timeout"), invalid, message);
    }
    let mut claims = BTreeMap::new();
    for (i, claim) in spec.claims.iter().enumerate() {
        let path = claim.path.clone().unwrap_or_else(|| format!("$.{}", claim.name));
        match ClaimPath::try_from(path) {
            Ok(path) => drop(claims.insert(claim.name.clone(), path)),
            Err(error) => fault(format!("{PATH}.claims[{i}].path"), invalid, error.to_string()),
        }
    }
    let headers = names(&mut fault, "headers", &spec.headers, &[]);
    let upstream_headers = names(&mut fault, "upstreamHeaders", &spec.upstream_headers, &RESERVED);
    let ca_certificates = match &spec.ca_ref {
        None => String::new(),
        Some(reference) => ca_bundle(inventory, &object.namespace, reference).unwrap_or_else(|(reason, message)| {
            fault(format!("{PATH}.caRef"), reason, message);
            String::new()
        }),
    };
    let (Some((protocol, _, point)), Some(timeout), true) = (chosen, timeout, faults.is_empty()) else {
        return Err(faults);
    };
    Ok(ExternalRule {
        protocol,
        endpoint: point.url.clone(),
        ca_certificates,
        addresses: options.addresses,
        timeout,
        failure_mode: match spec.failure_mode {
            FailureModeSpec::Deny => FailureMode::Deny,
            FailureModeSpec::Permit => FailureMode::Permit,
        },
        claims,
        headers,
        upstream_headers,
    })
}
