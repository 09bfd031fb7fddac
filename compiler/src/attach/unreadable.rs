//! A policy that cannot be read still governs its targets, by refusing them.

use portreeve_crds::{
    GROUP,
    v1alpha1::{PolicyMode, Precedence},
};
use portreeve_policy::{NamespacedName, Refusal};
use serde_json::Value;

use super::{BlockKind, Blocks, PolicyState};
use crate::validate::{PolicyAge, Target};

/// Fields of an ApiPolicy's `spec`. A field beside these can be any of them, misspelt.
const FIELDS: [&str; 6] = ["targetRefs", "precedence", "mode", "authentication", "authorization", "limits"];

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
        age: PolicyAge::of_value(value),
        precedence: read_precedence(value.get("spec").unwrap_or(&Value::Null)),
        mode: if shadow { PolicyMode::Shadow } else { PolicyMode::Enforce },
        targets,
        blocks: Blocks::Broken(refusal, read_blocks(value)),
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

/// The blocks that it may have set. Who may call is always among them; limits are not where every field is known.
fn read_blocks(value: &Value) -> Vec<BlockKind> {
    // Of no known age it takes the place of others, and stands for all that they may have said.
    let ageless = PolicyAge::of_value(value) == PolicyAge::oldest();
    let limits = ageless
        || value.get("spec").and_then(Value::as_object).is_none_or(|fields| {
            let of_caller = ["authentication", "authorization"].iter().any(|name| fields.contains_key(*name));
            !of_caller || fields.keys().any(|name| name == "limits" || !FIELDS.contains(&name.as_str()))
        });
    BlockKind::ALL.into_iter().filter(|kind| *kind != BlockKind::Limits || limits).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn c5_a_target_that_cannot_be_read_is_as_wide_as_it_may_have_been_meant() {
        let route = |name: &str| Target::Route(name.to_owned());
        let unclear = |name: &str| Target::Unclear(Some(name.to_owned()));
        let cases = [
            (json!({"kind": "ApiRoute", "name": "orders"}), route("orders")),
            (json!({"group": GROUP, "kind": "ApiRoute", "name": "orders"}), route("orders")),
            (
                json!({"kind": "ApiRoute", "name": "orders", "sectionName": "read"}),
                Target::Rule("orders".to_owned(), "read".to_owned()),
            ),
            (json!({"group": "", "kind": "Namespace", "name": "shop"}), Target::Namespace),
            // The namespace of somebody else, of another group, with more: each may mean this one.
            (json!({"group": "", "kind": "Namespace", "name": "other"}), Target::Unclear(None)),
            (json!({"kind": "Namespace", "name": "shop"}), Target::Unclear(None)),
            (json!({"group": "", "kind": "Namespace", "name": "shop", "sectionName": "x"}), Target::Unclear(None)),
            (json!({"group": "", "kind": "Namespace"}), Target::Unclear(None)),
            // What may be misspelt may be the name of a rule.
            (json!({"kind": "ApiRoute", "name": "orders", "sectionNam": "read"}), unclear("orders")),
            (json!({"kind": "ApiRoute", "name": "orders", "sectionName": 7}), unclear("orders")),
            (json!({"kind": "ApiRout", "name": "orders"}), unclear("orders")),
            (json!({"group": "gateway", "kind": "ApiRoute", "name": "orders"}), unclear("orders")),
            (json!({"kind": "ApiRoute"}), Target::Unclear(None)),
            (json!("orders"), Target::Unclear(None)),
        ];
        for (target, expected) in cases {
            assert_eq!(read_target("shop", &target), expected, "{target}");
        }
    }

    #[test]
    fn c5_a_policy_that_cannot_be_read_may_have_set_limits_unless_it_is_sure_that_it_did_not() {
        let who = json!({"anonymous": 7});
        for (spec, limits) in [
            (json!({"authentication": who, "precedence": "Defaults", "mode": "Enforce", "targetRefs": 1}), false),
            (json!({"authorization": 7}), false),
            (json!({"authentication": who, "limits": 7}), true),
            (json!({"authentication": who, "limts": {}}), true),
            (json!({"precedence": "Defaults"}), true),
            (json!("text"), true),
        ] {
            let says = |metadata: Value| read_blocks(&json!({"metadata": metadata, "spec": spec}));
            assert_eq!(says(json!({"name": "p"})).contains(&BlockKind::Limits), limits, "{spec}");
            for ageless in [json!({"name": "p", "creationTimestamp": "soon"}), json!([]), json!(null)] {
                assert_eq!(says(ageless), BlockKind::ALL, "{spec}");
            }
        }
    }

    #[test]
    fn c5_a_policy_that_cannot_be_read_overrides_unless_it_is_sure_that_it_does_not() {
        let cases = [
            (json!({"precedence": "Defaults", "x": "Overrides"}), Precedence::Defaults),
            (json!({"precedence": "Overrides"}), Precedence::Overrides),
            (json!({"precedence": "defaults"}), Precedence::Overrides),
            (json!({"precedence": null}), Precedence::Overrides),
            (json!({}), Precedence::Defaults),
            (json!({"mode": "Shadow", "authentication": "x"}), Precedence::Defaults),
            (json!({"authorisation": {}}), Precedence::Defaults),
            (json!({"precedense": "Overrides"}), Precedence::Overrides),
            (json!({"mode": "Enforce", "precedense": "Overrides"}), Precedence::Overrides),
        ];
        for (spec, expected) in cases {
            assert_eq!(read_precedence(&spec), expected, "{spec}");
            let whole = json!({"spec": spec, "metadata": {"generation": 3}});
            let name = NamespacedName::new("shop", "p").unwrap();
            let refusal = Refusal { reason: portreeve_policy::RefusalReason::InvalidPolicy, message: String::new() };
            let policy = unreadable_policy(name, &whole, refusal);
            assert_eq!((policy.precedence, policy.generation), (expected, 3));
            assert_eq!(policy.targets, [Target::Unclear(None)], "it names none");
            assert_eq!(policy.mode == PolicyMode::Shadow, spec["mode"] == "Shadow", "{spec}");
        }
    }
}
