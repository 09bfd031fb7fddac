//! Single mistakes: a field removed, emptied, mistyped, out of range, renamed; a document of another kind, name or shape.

use serde_json::{Value, json};

use super::{Case, Draw, case};

/// One mistake.
pub(super) struct Edit {
    /// For the tally.
    pub(super) kind: String,
    /// For people.
    pub(super) what: String,
    /// The text that it leaves.
    pub(super) text: String,
}

const OWN: [&str; 4] = ["ApiPolicy", "ApiRoute", "ClientRegistration", "TokenService"];

/// Some mistakes in a case.
pub(super) fn some(case: &Case, count: usize, draw: &mut Draw) -> Vec<Edit> {
    let own: Vec<usize> = case
        .documents
        .iter()
        .enumerate()
        .filter(|(_, document)| document.get("kind").and_then(Value::as_str).is_some_and(|kind| OWN.contains(&kind)))
        .map(|(index, _)| index)
        .collect();
    let mut found = Vec::with_capacity(count);
    while found.len() < count && !own.is_empty() {
        let index = own.get(draw.below(own.len())).copied().unwrap_or_default();
        found.extend(if draw.below(6) == 0 { of_document(case, index, draw) } else { of_field(case, index, draw) });
    }
    found
}

fn label(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn of_field(case: &Case, index: usize, draw: &mut Draw) -> Option<Edit> {
    let mut documents = case.documents.clone();
    let document = documents.get_mut(index)?;
    let label = label(document);
    let mut pointers = Vec::new();
    for root in ["/spec", "/metadata/name", "/metadata/namespace", "/metadata/annotations"] {
        if let Some(value) = document.pointer(root) {
            pointers.push(root.to_owned());
            collect(value, root, &mut pointers);
        }
    }
    let pointer = pointers.get(draw.below(pointers.len()))?.clone();
    let (parent, key) = pointer.rsplit_once('/')?;
    let kind = match draw.below(8) {
        0 => {
            remove(document.pointer_mut(parent)?, key)?;
            "removed"
        }
        1 => {
            rename(document.pointer_mut(parent)?, key, draw)?;
            "renamed"
        }
        2 => {
            let value = document.pointer_mut(&pointer)?;
            *value = empty(value, draw);
            "emptied"
        }
        3 | 4 => {
            let value = document.pointer_mut(&pointer)?;
            *value = mistyped(value, draw);
            "mistyped"
        }
        5 => {
            let value = document.pointer_mut(&pointer)?;
            *value = out_of_range(value, draw)?;
            "out of range"
        }
        _ => {
            let value = document.pointer_mut(&pointer)?;
            *value = garbled(value, draw)?;
            "garbled"
        }
    };
    Some(Edit {
        kind: format!("{kind} {}", general(&pointer)),
        what: format!("{label}: {pointer} {kind}: {}", documents.get(index)?),
        text: case::text(documents.iter()),
    })
}

/// Without the numbers of lists.
fn general(pointer: &str) -> String {
    let steps: Vec<_> = pointer.split('/').map(|step| if step.parse::<usize>().is_ok() { "*" } else { step }).collect();
    steps.join("/")
}

fn collect(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let mut add = |step: &str, inner: &Value| {
        let pointer = format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        collect(inner, &pointer, found);
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| add(&i.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| add(name, member)),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

fn remove(parent: &mut Value, key: &str) -> Option<()> {
    match parent {
        Value::Array(items) => {
            let index = key.parse::<usize>().ok().filter(|index| *index < items.len())?;
            drop(items.remove(index));
        }
        Value::Object(members) => drop(members.remove(key)?),
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => return None,
    }
    Some(())
}

fn rename(parent: &mut Value, key: &str, draw: &mut Draw) -> Option<()> {
    let members = parent.as_object_mut()?;
    let value = members.remove(key)?;
    let mut cut = key.to_owned();
    cut.pop();
    let name = match draw.below(3) {
        0 => format!("{key}x"),
        1 => key.to_lowercase() + "s",
        _ => cut,
    };
    members.insert(name, value);
    Some(())
}

fn empty(value: &Value, draw: &mut Draw) -> Value {
    if draw.below(3) == 0 {
        return Value::Null;
    }
    match value {
        Value::Array(_) => json!([]),
        Value::Bool(_) | Value::Null => Value::Null,
        Value::Number(_) => json!(0),
        Value::Object(_) => json!({}),
        Value::String(_) => json!(""),
    }
}

fn mistyped(value: &Value, draw: &mut Draw) -> Value {
    let wrong =
        [json!(7), json!("x"), json!(true), json!(["x"]), json!({"x": "y"}), json!([value]), json!({"x": value})];
    wrong.get(draw.below(wrong.len())).cloned().unwrap_or_default()
}

fn out_of_range(value: &Value, draw: &mut Draw) -> Option<Value> {
    Some(match value {
        Value::Number(_) => {
            let numbers = [json!(-1), json!(0), json!(70_000), json!(i64::MAX), json!(1.5)];
            numbers.get(draw.below(numbers.len())).cloned().unwrap_or_default()
        }
        Value::String(text) => match draw.below(3) {
            0 => json!(text.repeat(2000)),
            1 => json!("0s"),
            _ => json!(format!("{text}\u{0}")),
        },
        Value::Array(items) => json!(items.iter().cycle().take(items.len().saturating_mul(100)).collect::<Vec<_>>()),
        Value::Bool(_) | Value::Null | Value::Object(_) => return None,
    })
}

fn garbled(value: &Value, draw: &mut Draw) -> Option<Value> {
    match value {
        Value::String(text) => {
            let mut cut = text.clone();
            cut.pop();
            let forms = [
                format!("{text}x"),
                format!("x{text}"),
                cut,
                format!("{text} "),
                format!(" {text}"),
                text.to_uppercase(),
                text.to_lowercase(),
                format!("{text}/.."),
                text.replace('.', ".."),
                text.replace('{', "{{"),
                format!("{text}.json"),
                text.replacen('/', "//", 1),
                format!("{text}{text}"),
            ];
            forms.get(draw.below(forms.len())).filter(|form| *form != text).map(|form| json!(form))
        }
        Value::Array(items) => {
            let mut items = items.clone();
            match draw.below(3) {
                0 => items.push(json!("x")),
                1 => items.push(items.first()?.clone()),
                _ => items.push(json!(7)),
            }
            Some(Value::Array(items))
        }
        Value::Object(members) => {
            let mut members = members.clone();
            members.insert("unknownField".to_owned(), json!("x"));
            Some(Value::Object(members))
        }
        Value::Bool(flag) => Some(json!(!flag)),
        Value::Null | Value::Number(_) => None,
    }
}

fn of_document(case: &Case, index: usize, draw: &mut Draw) -> Option<Edit> {
    let mut documents = case.documents.clone();
    let label = label(documents.get(index)?);
    let what = match draw.below(3) {
        0 => return bad_syntax(&documents, index, &label, draw),
        1 => in_a_list(&mut documents, index, draw)?,
        _ => with_another_head(&mut documents, index, draw)?,
    };
    Some(Edit { kind: what.to_owned(), what: format!("{label}: {what}"), text: case::text(documents.iter()) })
}

fn bad_syntax(documents: &[Value], index: usize, label: &str, draw: &mut Draw) -> Option<Edit> {
    let mut parts: Vec<String> = documents.iter().map(Value::to_string).collect();
    let part = parts.get_mut(index)?;
    let cut = draw.below(part.len());
    *part = match draw.below(3) {
        0 => part.chars().take(cut).collect(),
        1 => format!("{part}\n  oops: [1, 2"),
        _ => part.replacen(':', " ", 1),
    };
    let what = format!("{label}: bad syntax: {part}");
    Some(Edit { kind: "bad syntax".to_owned(), what, text: parts.join("\n---\n") })
}

fn in_a_list(documents: &mut Vec<Value>, index: usize, draw: &mut Draw) -> Option<&'static str> {
    let kind = documents.get(index)?.get("kind")?.as_str()?.to_owned();
    let mut item = documents.remove(index);
    let (list, what) = match draw.below(5) {
        0 => (json!({"apiVersion": "v1", "kind": "List", "items": [item]}), "in a List"),
        1 => {
            item.as_object_mut()?.remove("kind");
            item.as_object_mut()?.remove("apiVersion");
            let list = json!({"apiVersion": "portreeve.dev/v1alpha1", "kind": format!("{kind}List"), "items": [item]});
            (list, "in a typed List")
        }
        2 => (json!({"apiVersion": "v1", "kind": "List", "itmes": [item]}), "in a List with a misspelt field"),
        3 => (json!({"apiVersion": "v1", "kind": "Lst", "items": [item]}), "in a misspelt List"),
        _ => {
            let inner = json!({"apiVersion": "v1", "kind": "List", "items": [item]});
            (json!({"apiVersion": "v1", "kind": "List", "items": [inner]}), "in a List of Lists")
        }
    };
    documents.push(list);
    Some(what)
}

fn with_another_head(documents: &mut Vec<Value>, index: usize, draw: &mut Draw) -> Option<&'static str> {
    let document = documents.get(index)?.clone();
    let kind = document.get("kind")?.as_str()?;
    let fields = documents.get_mut(index)?.as_object_mut()?;
    Some(match draw.below(8) {
        0 => {
            fields.insert("kind".to_owned(), json!(format!("{kind}s")));
            "kind misspelt"
        }
        1 => {
            fields.insert("apiVersion".to_owned(), json!("portreeve.dev/v1beta1"));
            "of another version"
        }
        2 => {
            fields.insert("apiVersion".to_owned(), json!("portreve.dev/v1alpha1"));
            "of another group"
        }
        3 => {
            let field = ["kind", "apiVersion", "metadata", "spec"].get(draw.below(4)).copied()?;
            fields.remove(field);
            "without a field of its head"
        }
        4 => {
            let name = |document: &Value| document.pointer("/metadata/name").cloned();
            let same = |other: &&Value| other.get("kind").is_some_and(|other| other == kind);
            let others = documents.iter().filter(same).filter_map(name);
            let taken = others.into_iter().find(|other| Some(other) != name(&document).as_ref())?;
            *documents.get_mut(index)?.pointer_mut("/metadata/name")? = taken;
            "with the name of another"
        }
        5 => {
            documents.push(document);
            "twice"
        }
        6 => {
            let spec = fields.remove("spec")?;
            fields.insert("spce".to_owned(), spec);
            "with spec misspelt"
        }
        _ => {
            fields.insert("metadata".to_owned(), json!("x"));
            "with metadata mistyped"
        }
    })
}
