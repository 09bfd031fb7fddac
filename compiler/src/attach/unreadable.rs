//! A policy that cannot be read still governs its targets, by refusing them.

use portreeve_crds::{
    GROUP,
    v1alpha1::{PolicyMode, Precedence},
};
use portreeve_policy::{NamespacedName, Refusal};
use serde_json::Value;

use super::{Blocks, PolicyState};
use crate::validate::{PolicyAge, Target};

/// Fields of an ApiPolicy's `spec`. A field beside these can be any of them, misspelt.
const FIELDS: [&str; 5] = ["targetRefs", "precedence", "mode", "authentication", "authorization"];

/// The policy, as wide and as high in rank as it may have been meant.
pub(crate) fn unreadable_policy(name: NamespacedName, value: &Value, refusal: Refusal) -> PolicyState {
    let refs = value.pointer("/spec/targetRefs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut targets: Vec<_> = refs.iter().map(|target| read_target(name.namespace(), target)).collect();
    if targets.is_empty() {
        // Nobody can say what it was to protect, so it protects its whole namespace.
        targets.push(Target::Unclear(None));
    }
    let shadow = value.pointer("/spec/mode").and_then(Value::as_str) == Some("Shadow");
    PolicyState {
        generation: value.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0),
        seniority: PolicyAge::of_value(value),
        precedence: read_precedence(value.get("spec").unwrap_or(&Value::Null)),
        mode: if shadow { PolicyMode::Shadow } else { PolicyMode::Enforce },
        targets,
        blocks: Blocks::Broken(refusal),
        name,
    }
}

fn read_target(namespace: &str, target: &Value) -> Target {
    let text = |field: &str| target.get(field).and_then(Value::as_str).map(str::to_owned);
    let known = |field: &String| ["group", "kind", "name", "sectionName"].contains(&field.as_str());
    let whole =
        target.as_object().is_some_and(|fields| fields.keys().all(known) && fields.values().all(Value::is_string));
    let name = text("name");
    let group = text("group").unwrap_or_else(|| GROUP.to_owned());
    match (whole, group.as_str(), text("kind").as_deref(), &name, text("sectionName")) {
        (true, GROUP, Some("ApiRoute"), Some(name), None) => Target::Route(name.clone()),
        (true, GROUP, Some("ApiRoute"), Some(name), Some(rule)) => Target::Rule(name.clone(), rule),
        (true, "", Some("Namespace"), Some(name), None) if name == namespace => Target::Namespace,
        (_, _, Some("Namespace"), _, _) => Target::Unclear(None),
        _ => Target::Unclear(name),
    }
}

/// Overrides, unless it is sure that it was not.
fn read_precedence(spec: &Value) -> Precedence {
    let misspelt = || {
        let fields = spec.as_object().into_iter().flatten();
        let mut unknown = fields.filter(|(name, _)| !FIELDS.contains(&name.as_str()));
        unknown.any(|(_, value)| value.is_string())
    };
    match spec.get("precedence") {
        Some(Value::String(text)) if text == "Defaults" => Precedence::Defaults,
        None if !misspelt() => Precedence::Defaults,
        _ => Precedence::Overrides,
    }
}
