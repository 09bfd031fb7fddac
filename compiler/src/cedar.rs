//! Cedar policies of an ApiPolicy: found, parsed, checked against the schema that follows from what the policy declares,
//! and looked through for what they read. Nothing is evaluated here.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic as Report;
use portreeve_crds::{
    ConditionReason, ObjectRef,
    v1alpha1::{CedarSpec, ClaimAttributeSpec, ClaimTypeSpec},
};
use portreeve_policy::{
    CEDAR_PRINCIPAL, CedarRead, CedarRule, ClaimAttribute, ClaimPath, ClaimType, NamespacedName, gate,
};
use serde_json::Value;

use crate::{Diagnostic, Inventory};

/// Most policies in a text; the cost of a decision follows their number.
const MAX_POLICIES: usize = 64;

const PATH: &str = "spec.authorization.cedar";

/// Where a text came from.
struct Source {
    /// Field that names it.
    path: String,
    /// Put in front of a message; empty for a text that stands in the policy itself.
    label: String,
    text: String,
}

/// The block in its final form, or every fault.
pub(crate) fn resolve_cedar(
    inventory: &Inventory,
    object: &ObjectRef,
    spec: &CedarSpec,
) -> Result<CedarRule, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let mut fault = |path: String, message: String| {
        faults.push(Diagnostic::error(object, path, ConditionReason::Invalid, message));
    };
    let mut claims = BTreeMap::new();
    for (i, claim) in spec.claims.iter().enumerate() {
        match attribute(claim) {
            Ok(attribute) => {
                if claims.insert(claim.name.clone(), attribute).is_some() {
                    fault(format!("{PATH}.claims[{i}].name"), format!("duplicate attribute {:?}", claim.name));
                }
            }
            Err((field, message)) => fault(format!("{PATH}.claims[{i}].{field}"), message),
        }
    }
    let mut path_of = |field: &str, text: &Option<String>| -> Option<ClaimPath> {
        let parsed = ClaimPath::try_from(text.clone()?);
        parsed.map_err(|error| fault(format!("{PATH}.{field}"), error.to_string())).ok()
    };
    let (roles, groups) = (path_of("roles", &spec.roles), path_of("groups", &spec.groups));
    for (i, name) in spec.path_parameters.iter().enumerate() {
        if !is_name(name, "_") {
            fault(format!("{PATH}.pathParameters[{i}]"), format!("{name:?} is not the name of a path parameter"));
        }
    }
    for (i, name) in spec.headers.iter().enumerate() {
        if !is_name(name, "-") {
            fault(format!("{PATH}.headers[{i}]"), format!("{name:?} is not a field name: letters, digits and '-'"));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let source = source(inventory, object, spec).map_err(|fault| vec![*fault])?;
    let rule = CedarRule {
        text: source.text.clone(),
        claims,
        roles,
        groups,
        path_parameters: spec.path_parameters.iter().cloned().collect(),
        headers: spec.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
        reads: BTreeSet::new(),
    };
    let told = |(position, message): Finding| source.fault(object, position, &message);
    let reads = check(&rule).map_err(|found| found.into_iter().map(told).collect::<Vec<_>>())?;
    Ok(CedarRule { reads, ..rule })
}

fn attribute(spec: &ClaimAttributeSpec) -> Result<ClaimAttribute, (&'static str, String)> {
    let ClaimAttributeSpec { name, kind, path, optional } = spec;
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !starts || !is_name(name, "_") {
        return Err(("name", format!("{name:?} is not an attribute name: letters, digits and '_', no digit in front")));
    }
    if CEDAR_PRINCIPAL.contains(&name.as_str()) {
        return Err(("name", format!("every principal has an attribute {name:?} of its own; choose another name")));
    }
    let path = path.clone().unwrap_or_else(|| format!("$.{name}"));
    let path = ClaimPath::try_from(path).map_err(|error| ("path", error.to_string()))?;
    let kind = match kind {
        ClaimTypeSpec::Boolean => ClaimType::Boolean,
        ClaimTypeSpec::Long => ClaimType::Long,
        ClaimTypeSpec::SetOfString => ClaimType::SetOfString,
        ClaimTypeSpec::String => ClaimType::String,
    };
    Ok(ClaimAttribute { path, kind, optional: *optional })
}

/// Names go into the schema's text, so that nothing but these characters may stand in them (P8).
fn is_name(text: &str, mark: &str) -> bool {
    (1..=128).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || mark.contains(c))
}

fn source(inventory: &Inventory, object: &ObjectRef, spec: &CedarSpec) -> Result<Source, Box<Diagnostic>> {
    let unresolved =
        |path: &str, message| Box::new(Diagnostic::error(object, path, ConditionReason::UnresolvedReference, message));
    let source = match (&spec.policy, &spec.policy_ref) {
        (Some(text), None) => Source { path: format!("{PATH}.policy"), label: String::new(), text: text.clone() },
        (None, Some(reference)) => {
            let path = format!("{PATH}.policyRef");
            let name = NamespacedName::new(&object.namespace, &reference.name)
                .map_err(|error| unresolved(&path, error.to_string()))?;
            let Some(map) = inventory.config_maps.get(&name) else {
                return Err(unresolved(
                    &path,
                    format!("ConfigMap {name} does not exist; create it or correct the name"),
                ));
            };
            let Some(text) = map.get(&reference.key) else {
                return Err(unresolved(&path, format!("ConfigMap {name} has no text under {:?}", reference.key)));
            };
            Source { path, label: format!("ConfigMap {name} {}:", reference.key), text: text.clone() }
        }
        _ => {
            let message = "say exactly one of policy and policyRef";
            return Err(Box::new(Diagnostic::error(object, PATH, ConditionReason::Invalid, message)));
        }
    };
    Ok(source)
}

impl Source {
    fn fault(&self, object: &ObjectRef, position: Option<(u64, u64)>, message: &str) -> Diagnostic {
        let place = position.map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default();
        let label =
            if self.label.is_empty() || !place.is_empty() { self.label.clone() } else { format!("{} ", self.label) };
        let message = format!("{label}{place}{message}");
        let fault = Diagnostic::error(object, &self.path, ConditionReason::Invalid, message);
        // A text in another object has its place in the message only.
        let within = position.filter(|_| self.label.is_empty());
        Diagnostic { within, ..fault }
    }
}

type Finding = (Option<(u64, u64)>, String);

/// Parses and validates; says what the text reads.
fn check(rule: &CedarRule) -> Result<BTreeSet<CedarRead>, Vec<Finding>> {
    // Before the parser, which recurses without a bound.
    gate::cedar(&rule.text)
        .map_err(|(offset, reason)| vec![(line_and_column(&rule.text, offset), reason.to_string())])?;
    let at = |report: &dyn Report| position(&rule.text, report);
    let policies = PolicySet::from_str(&rule.text).map_err(|error| vec![(at(&error), words(&error))])?;
    if policies.templates().next().is_some() {
        return Err(vec![(None, "templates (?principal, ?resource) are not offered here".to_owned())]);
    }
    match policies.policies().count() {
        0 => return Err(vec![(None, "the text has no policy, and so would refuse everything".to_owned())]),
        many if many > MAX_POLICIES => {
            return Err(vec![(None, format!("{many} policies; a rule has at most {MAX_POLICIES}"))]);
        }
        _ => {}
    }
    // Every name in it was checked, so that the schema is always one.
    let schema = Schema::from_str(&rule.schema()).map_err(|error| vec![(None, words(&error))])?;
    let verdict = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    let mut found: Vec<Finding> = verdict.validation_errors().map(|error| (at(error), words(error))).collect();
    found.sort();
    if !found.is_empty() {
        return Err(found);
    }
    let mut reads = BTreeSet::new();
    for policy in policies.policies() {
        let json = policy.to_json().map_err(|error| vec![(None, error.to_string())])?;
        if json.pointer("/resource/op").and_then(Value::as_str).is_none_or(|op| op != "All" && op != "==") {
            reads.insert(CedarRead::Resource);
        }
        let conditions = json.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for condition in conditions {
            collect(condition.get("body").unwrap_or(&Value::Null), &mut reads);
        }
    }
    Ok(reads)
}

fn words(report: &dyn Report) -> String {
    let message = report.to_string().replace('\n', " ");
    // Guesses at what was meant hang on the order of a hash table; the same input must give the same words.
    let help = report.help().map(|help| help.to_string()).filter(|help| !help.contains("did you mean"));
    match help {
        Some(help) => format!("{message}; {help}").replace('\n', " "),
        None => message,
    }
}

/// Line and column in the text, both from 1.
fn position(text: &str, report: &dyn Report) -> Option<(u64, u64)> {
    line_and_column(text, report.labels()?.next()?.offset())
}

fn line_and_column(text: &str, offset: usize) -> Option<(u64, u64)> {
    let before = text.get(..offset)?;
    let line = before.matches('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    Some((u64::try_from(line).ok()?.saturating_add(1), u64::try_from(column).ok()?.saturating_add(1)))
}

/// Walks an expression of Cedar's JSON form. What is not understood counts as reading everything.
fn collect(expression: &Value, reads: &mut BTreeSet<CedarRead>) {
    let (name, inner) = match expression {
        Value::Object(members) => match members.iter().next() {
            Some(pair) => pair,
            None => return,
        },
        Value::Array(list) => return list.iter().for_each(|one| collect(one, reads)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    match (name.as_str(), inner) {
        ("Value", _) => {}
        ("Var", Value::String(variable)) => match variable.as_str() {
            "context" => reads.extend(CedarRead::ALL.into_iter().filter(|read| read.context_attribute().is_some())),
            "resource" => drop(reads.insert(CedarRead::Resource)),
            _ => {}
        },
        ("." | "has", inner) if inner.pointer("/left/Var").and_then(Value::as_str) == Some("context") => {
            let attribute = inner.get("attr").and_then(Value::as_str);
            let known = CedarRead::ALL.into_iter().find(|read| read.context_attribute() == attribute);
            match known {
                Some(read) if attribute.is_some() => drop(reads.insert(read)),
                _ => reads.extend(CedarRead::ALL),
            }
        }
        (_, Value::Object(members)) => members.values().for_each(|one| collect(one, reads)),
        (_, inner) => collect(inner, reads),
    }
}

#[cfg(test)]
mod tests;
