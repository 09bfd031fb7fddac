//! One text, one meaning: what kubectl reads in a text is what is read here, or the text is a fault with its place.
//!
//! `testdata/yaml/corpus.json` holds texts, `kubectl.json` what kubectl's reader (sigs.k8s.io/yaml) makes of each, as
//! `e2e/yaml` wrote it; `make test` writes it again and compares.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{fs, path::Path};

use portreeve_compiler::manifest::documents;
use serde_json::Value;

fn read(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/yaml").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Equal, where numbers are equal by their value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn fault_11_what_kubectl_reads_otherwise_is_a_fault() {
    let (corpus, kubectl) = (read("corpus.json"), read("kubectl.json"));
    assert!(corpus.len() >= 199 && corpus.len() == kubectl.len());
    let (mut wrong, mut stricter) = (Vec::new(), 0);
    for (text, theirs) in corpus.iter().zip(&kubectl) {
        let text = text.as_str().unwrap();
        let value = theirs.get("value");
        match (documents(text), value) {
            (None, None) => {}
            (None, Some(_)) => {
                eprintln!("only kubectl: {text:?}");
                stricter += 1;
            }
            (Some(ours), Some(theirs)) if ours.is_empty() && theirs.is_null() => {}
            (Some(ours), Some(theirs)) if ours.len() == 1 && equal(&ours[0], theirs) => {}
            (Some(ours), theirs) => wrong.push(format!("{text:?}: ours {ours:?}, kubectl {theirs:?}")),
        }
    }
    eprintln!("{} texts, {stricter} that only kubectl reads", corpus.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
