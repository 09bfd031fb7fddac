//! The checked-in definitions: fresh, taught in every field, bounded.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on shall say so by panicking")]

use std::{fs, path::Path};

use serde_json::Value;

fn definitions() -> Vec<(&'static str, Value)> {
    let value = |definition| serde_json::to_value(definition).unwrap();
    portreeve_crds::v1alpha1::definitions().into_iter().map(|(file, crd)| (file, value(crd))).collect()
}

/// Calls `look` with every schema below `schema` and its path.
fn walk(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, look);
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&format!("{path}[]"), &schema[key], look);
        }
    }
}

fn schemas(look: &mut impl FnMut(&str, &Value)) {
    for (_, definition) in definitions() {
        let root = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        for part in ["spec", "status"] {
            walk(&format!("{kind}.{part}"), &root["properties"][part], look);
        }
    }
}

#[test]
fn checked_in_yaml_is_what_the_types_say() {
    for (file, definition) in definitions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let held: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
        assert_eq!(held, definition, "crds/{file} is stale: run `make crds` and look at the diff");
    }
}

#[test]
fn every_field_has_a_description() {
    let mut silent = Vec::new();
    schemas(&mut |path, schema| {
        let named = !path.ends_with("[]") && path.contains('.');
        if named && schema["description"].as_str().is_none_or(str::is_empty) {
            silent.push(path.to_owned());
        }
    });
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn every_list_and_string_of_a_spec_is_bounded() {
    let mut open = Vec::new();
    schemas(&mut |path, schema| {
        let bounded = match schema["type"].as_str() {
            Some("array") => schema["maxItems"].is_u64(),
            Some("string") => schema["maxLength"].is_u64() || schema["enum"].is_array() || !schema["pattern"].is_null(),
            Some("object") if schema["additionalProperties"].is_object() => schema["maxProperties"].is_u64(),
            _ => true,
        };
        let map_value = path.ends_with("Labels[]") || path.ends_with("additional[]");
        if path.contains(".spec") && !bounded && !map_value {
            open.push(path.to_owned());
        }
    });
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn no_reference_to_a_secret_or_config_map_names_a_namespace_o1() {
    let mut wrong = Vec::new();
    schemas(&mut |path, schema| {
        let reference = ["secretRef", "registrationRef", "caRef", "initialAccessTokenRef", "policyRef"];
        let held = &schema["properties"]["namespace"];
        if reference.iter().any(|name| path.ends_with(name)) && held.is_object() {
            wrong.push(path.to_owned());
        }
    });
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn an_unknown_field_is_a_fault_with_its_path() {
    let value = serde_json::json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiPolicy", "metadata": {"name": "p", "namespace": "n"},
        "spec": {"targetRefs": [{"kind": "ApiRoute", "name": "r"}], "authentication": {"anonymous": {}, "newThing": 1}},
    });
    let fault = portreeve_crds::read_object(value).unwrap().unwrap_err();
    assert_eq!(fault.path, "spec.authentication.newThing");
    assert_eq!(fault.object.to_string(), "ApiPolicy n/p");
}
