//! Every fault of an object that cannot be read, each with the path of its own field and in the words of manifests.
//!
//! A parser ends at the first fault. So that the others are found too, a stand-in of the expected form takes the place
//! of what was wrong, in a copy, and the copy is read again. What is refused never depends on it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::field_path;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// E.g. `spec.rules[0].matches[0].path.type`.
    pub path: String,
    /// What was found, and what is allowed.
    pub message: String,
}

/// Most faults that are looked for in one object.
const MAX_FAULTS: usize = 32;

/// Bytes that are read for that, of all rounds together: a large object costs no more than a small one.
const MAX_READ: usize = 8 << 20;

/// All faults of a value that is no `T`. `schema` is that of the kind in OpenAPI v3; names that are near come from it.
pub(super) fn field_faults<T: DeserializeOwned>(value: &Value, schema: &Value) -> Vec<FieldFault> {
    let mut copy = value.clone();
    let mut faults: Vec<FieldFault> = Vec::new();
    let mut stand_ins: Vec<String> = Vec::new();
    let mut unknown = Vec::new();
    // Each fault takes two rounds at the most: a field that is missing has no form until one is tried.
    let size = value.to_string().len().max(1);
    let rounds = (MAX_READ / size).clamp(2, MAX_FAULTS.saturating_mul(2));
    for _ in 0..rounds {
        let mut note = |path: serde_ignored::Path<'_>| {
            let path = field_path(&path);
            if path.starts_with("spec") && unknown.len() < MAX_FAULTS && !unknown.contains(&path) {
                unknown.push(path);
            }
        };
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(&copy, &mut track);
        let Err(error) = serde_ignored::deserialize::<_, _, T>(tracked, &mut note) else { break };
        let text = error.to_string();
        let mut steps: Vec<_> = track.path().iter().filter_map(step).collect();
        if let Some(field) = quoted(&text, "missing field ") {
            steps.push(Step::Field(field.to_owned()));
        }
        let path = shown(&steps);
        let known = stand_ins.iter().any(|stand_in| is_within(&path, stand_in));
        if !known && faults.len() < MAX_FAULTS {
            faults.push(FieldFault { message: words(&text, &steps, &copy), path: path.clone() });
        }
        let Some(stand_in) = stand_in(&text) else { break };
        if !put(&mut copy, &steps, stand_in) {
            break;
        }
        stand_ins.push(path);
    }
    for path in unknown {
        if !stand_ins.iter().any(|stand_in| is_within(&path, stand_in)) {
            faults.push(unknown_field(path, schema));
        }
    }
    faults
}

/// A field that this version does not know.
fn unknown_field(path: String, schema: &Value) -> FieldFault {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path.as_str()));
    let known = properties(schema, parent);
    let near = near(name, known.iter().copied()).map_or(String::new(), |near| format!("; did you mean {near}?"));
    let message = format!(
        "field {path} is unknown to this version of Portreeve; correct its name, or upgrade Portreeve first{near}"
    );
    FieldFault { path, message }
}

/// Whether a path is that one or below it.
fn is_within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Item(usize),
}

fn step(segment: &serde_path_to_error::Segment) -> Option<Step> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(Step::Item(*index)),
        Segment::Map { key } => Some(Step::Field(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

fn shown(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Field(name) if path.is_empty() => path.push_str(name),
            Step::Field(name) => path = format!("{path}.{name}"),
            Step::Item(index) => path = format!("{path}[{index}]"),
        }
    }
    path
}

/// What stands between the first pair of backticks after these words.
fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_prefix('`')?.split('`').next()
}

/// The values of `expected one of …`.
fn allowed(text: &str) -> Vec<&str> {
    let Some((_, list)) = text.split_once(", expected ") else { return Vec::new() };
    list.split('`').skip(1).step_by(2).collect()
}

fn words(text: &str, steps: &[Step], value: &Value) -> String {
    if quoted(text, "missing field ").is_some() {
        return "this field is required".to_owned();
    }
    if let Some(found) = quoted(text, "unknown variant ") {
        let allowed = allowed(text);
        let near = near(found, allowed.iter().copied());
        let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        return format!("unknown value {found:?}; allowed: {}{near}", allowed.join(", "));
    }
    let found = get(value, steps).map_or_else(|| "nothing".to_owned(), brief);
    match expected(text) {
        Some(Form::Number) if text.starts_with("invalid value") => format!("{found} is out of range"),
        Some(form) => format!("{found} where {} is expected", form.words()),
        None => format!("{found} is not valid here"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Boolean,
    Fields,
    List,
    Number,
    Text,
}

impl Form {
    fn words(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Fields => "an object with fields",
            Self::List => "a list",
            Self::Number => "a whole number",
            Self::Text => "a text",
        }
    }
}

/// What the parser wanted, by the last words of its message.
fn expected(text: &str) -> Option<Form> {
    let (_, wanted) = text.rsplit_once("expected ")?;
    match wanted.split(' ').take(2).collect::<Vec<_>>().as_slice() {
        ["a", "boolean"] => Some(Form::Boolean),
        ["a", "sequence"] => Some(Form::List),
        ["a", "string"] | ["string", ..] => Some(Form::Text),
        ["a", "map"] | ["struct", ..] => Some(Form::Fields),
        ["a", "nonzero"] => Some(Form::Number),
        [number]
            if number
                .strip_prefix(['u', 'i', 'f'])
                .is_some_and(|size| size == "size" || size.parse::<u8>().is_ok()) =>
        {
            Some(Form::Number)
        }
        _ => None,
    }
}

/// Something of the form that was expected.
fn stand_in(text: &str) -> Option<Value> {
    if text.starts_with("missing field") {
        return Some(Value::Null);
    }
    if let Some(first) = allowed(text).first().filter(|_| text.starts_with("unknown variant")) {
        return Some(Value::from(*first));
    }
    Some(match expected(text)? {
        Form::Boolean => Value::Bool(true),
        Form::Fields => Value::Object(Map::new()),
        Form::List => Value::Array(Vec::new()),
        Form::Number => Value::from(1),
        Form::Text => Value::from("x"),
    })
}

fn get<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(index) => value.get(index),
    })
}

/// Whether there was a place for it, and something else in it.
fn put(value: &mut Value, steps: &[Step], stand_in: Value) -> bool {
    let Some((last, before)) = steps.split_last() else { return false };
    let parent = before.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    });
    match (parent, last) {
        (Some(Value::Object(members)), Step::Field(name)) => {
            members.insert(name.clone(), stand_in.clone()) != Some(stand_in)
        }
        (Some(Value::Array(items)), Step::Item(index)) => {
            items.get_mut(*index).is_some_and(|item| std::mem::replace(item, stand_in.clone()) != stand_in)
        }
        _ => false,
    }
}

/// A value in few words; what a person wrote may be long.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.chars().count() <= 64 => format!("{text:?}"),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object with fields".to_owned(),
    }
}

/// Names of the fields that the schema has at a path.
fn properties<'a>(schema: &'a Value, path: &str) -> Vec<&'a str> {
    let mut at = schema;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let (name, items) = name.split_once('[').map_or((name, 0), |(name, rest)| (name, rest.matches(']').count()));
        let member =
            at.get("properties").and_then(|fields| fields.get(name)).or_else(|| at.get("additionalProperties"));
        let Some(member) = member else { return Vec::new() };
        at = member;
        for _ in 0..items {
            let Some(item) = at.get("items") else { return Vec::new() };
            at = item;
        }
    }
    let fields = at.get("properties").and_then(Value::as_object);
    fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// The name that was meant, if one is near enough.
fn near<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing costs the product of the lengths.
    if found.len() > 64 {
        return None;
    }
    let likeness = |name: &str| strsim::jaro_winkler(&found.to_ascii_lowercase(), &name.to_ascii_lowercase());
    let best = known.map(|name| (likeness(name), name)).max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(likeness, _)| *likeness > 0.85).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{Unreadable, read_object};

    fn faults(spec: &serde_json::Value) -> Vec<String> {
        let object = json!({
            "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiRoute",
            "metadata": {"name": "orders", "namespace": "shop"}, "spec": spec,
        });
        let Unreadable { path, message, others, .. } = *read_object(object).unwrap().unwrap_err();
        let others = others.into_iter().map(|other| format!("{}: {}", other.path, other.message));
        let mut all: Vec<_> = [format!("{path}: {message}")].into_iter().chain(others).collect();
        // The order of the members of an object is that of the text or of the alphabet, as serde_json was built.
        all.sort();
        all
    }

    #[test]
    fn every_fault_has_its_own_path_and_the_words_of_manifests() {
        let spec = json!({
            "workloadSelector": {"matchLabels": ["app"]},
            "upstream": {"port": "eighty"},
            "hostnamess": ["orders.example.com"],
            "rules": [
                {"name": "read", "matches": [{"path": {"type": "PathPrefixx", "value": "/"}, "method": ["GET"]}]},
                {"name": 7, "matches": [{"path": {"type": "Exact"}}]},
            ],
        });
        assert_eq!(
            faults(&spec),
            [
                "spec.hostnamess: field spec.hostnamess is unknown to this version of Portreeve; correct its name, or upgrade \
             Portreeve first; did you mean hostnames?",
                "spec.rules[0].matches[0].method: field spec.rules[0].matches[0].method is unknown to this version of \
             Portreeve; correct its name, or upgrade Portreeve first; did you mean methods?",
                "spec.rules[0].matches[0].path.type: unknown value \"PathPrefixx\"; allowed: Exact, PathPrefix, Template; did \
             you mean \"PathPrefix\"?",
                "spec.rules[1].matches[0].path.value: this field is required",
                "spec.rules[1].name: 7 where a text is expected",
                "spec.upstream.port: \"eighty\" where a whole number is expected",
                "spec.workloadSelector.matchLabels: a list where an object with fields is expected",
            ]
        );
    }

    #[test]
    fn no_name_of_a_type_reaches_people() {
        for spec in [
            json!(7),
            json!([]),
            json!("x"),
            json!({}),
            json!({"workloadSelector": 1, "upstream": [], "rules": {}}),
            json!({"workloadSelector": {}, "upstream": {"port": "x"}, "rules": [1, "x", null, [], {}]}),
            json!({"workloadSelector": {}, "upstream": {"port": -1}, "rules": [{"name": true, "matches": 1}]}),
            json!({"workloadSelector": {}, "upstream": {"port": 1.5}, "rules": [], "cors": {"passthrough": "yes"}}),
        ] {
            for fault in faults(&spec) {
                for word in ["Spec", "struct", "variant", "u16", "sequence", "map", "unit", "invalid type"] {
                    assert!(!fault.contains(word), "{fault}");
                }
            }
        }
    }

    #[test]
    fn ever_more_faults_end() {
        let rule = json!({"name": 7, "matches": [{"path": {"type": "x", "value": 1}, "x": 1}]});
        let spec = json!({"workloadSelector": 1, "upstream": 1, "rules": vec![rule.clone(); 100]});
        assert!((32..=64).contains(&faults(&spec).len()));
        // Of a megabyte only a few, however late they stand in it.
        let good = json!({"name": "x".repeat(200), "matches": []});
        let rules: Vec<_> = vec![good; 8_000].into_iter().chain(vec![rule; 100]).collect();
        let spec = json!({"workloadSelector": {}, "upstream": {"port": 1}, "rules": rules});
        assert!((1..=8).contains(&faults(&spec).len()));
    }
}
