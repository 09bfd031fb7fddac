//! Published vectors through the library: one line of JSON for each suite, then the failures. Run by
//! `e2e/conformance/run`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test driver")]

use std::{collections::BTreeMap, fs, path::Path};

use portreeve_policy::KeySet;
use portreeve_proxy::authn::verify_jws;
use serde_json::{Value, json};

/// What became of one suite.
#[derive(Default)]
struct Suite {
    cases: usize,
    passed: usize,
    excluded: BTreeMap<String, usize>,
    failures: Vec<String>,
}

impl Suite {
    fn exclude(&mut self, reason: &str) {
        self.cases += 1;
        *self.excluded.entry(reason.to_owned()).or_default() += 1;
    }

    fn count(&mut self, good: bool, case: impl FnOnce() -> String) {
        self.cases += 1;
        if good {
            self.passed += 1;
        } else {
            self.failures.push(case());
        }
    }

    fn print(&self, name: &str) {
        let Self { cases, passed, excluded, failures } = self;
        let line = json!({"suite": name, "cases": cases, "passed": passed, "excluded": excluded, "failures": failures});
        println!("{line}");
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The public part of a key, as a token service publishes it.
fn public(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    for member in ["d", "p", "q", "dp", "dq", "qi"] {
        if let Some(members) = jwk.as_object_mut() {
            members.remove(member);
        }
    }
    jwk
}

/// The key set of a group; a symmetric key stays what it is, and is refused.
fn key_set(group: &Value) -> KeySet {
    let held = if group["public"].is_object() { &group["public"] } else { &group["private"] };
    let keys = held["keys"].as_array().cloned().unwrap_or_else(|| vec![held.clone()]);
    let keys: Vec<_> = keys.iter().map(public).collect();
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap().0
}

fn is_symmetric(token: &str) -> bool {
    use base64::Engine;
    let header = token.split('.').next().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    header["alg"].as_str().is_some_and(|alg| alg.starts_with("HS"))
}

fn wycheproof(folder: &Path, name: &str, exclusions: &Value) {
    let mut suite = Suite::default();
    let document = read(&folder.join(format!("wycheproof/testvectors_v1/{name}.json")));
    for group in document["testGroups"].as_array().unwrap() {
        let keys = key_set(group);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].to_string();
            if let Some(reason) = exclusions[format!("wycheproof/{name}")][&id].as_str() {
                suite.exclude(reason);
                continue;
            }
            let encrypted = test.get("jwe").and_then(Value::as_str);
            let token = test.get("jws").and_then(Value::as_str).or(encrypted).unwrap_or_default();
            let accepted = verify_jws(token, &keys).is_ok();
            let wanted = test["result"] == "valid";
            let reason = match (wanted, encrypted) {
                (true, Some(_)) => Some("encrypted tokens are not supported; refused"),
                (true, None) if is_symmetric(token) => Some("symmetric algorithms are never accepted; refused"),
                _ => None,
            };
            match reason {
                Some(reason) if !accepted => suite.exclude(reason),
                _ => suite.count(accepted == wanted, || format!("{id} {}: wanted {}", test["comment"], test["result"])),
            }
        }
    }
    suite.print(&format!("wycheproof {name}, library"));
}

/// RFC 7520, RFC 8037 and RFC 7797: every compact form, and what becomes of it.
fn cookbook(folder: &Path) {
    let mut suite = Suite::default();
    let mut files: Vec<_> = ["jws", "rfc7797", "curve25519", "jwe", "."]
        .iter()
        .flat_map(|part| fs::read_dir(folder.join("jose-cookbook").join(part)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let example = read(&file);
        let Some(compact) = example["output"]["compact"].as_str() else {
            suite.exclude("has no compact form");
            continue;
        };
        let given = &example["input"]["key"];
        let key = given.as_array().map_or_else(|| given.clone(), |keys| keys.first().cloned().unwrap_or_default());
        let mut published = public(&key);
        // The algorithm is the caller's to say; the examples say it beside the key.
        if published.is_object() && published.get("alg").is_none() {
            published["alg"] = example["input"]["alg"].clone();
        }
        let keys = if published.is_object() { json!({ "keys": [published] }) } else { json!({"keys": []}) };
        let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap().0;
        let verdict = verify_jws(compact, &keys);
        let (unsupported, refused) = (
            match (key["kty"].as_str(), key["crv"].as_str()) {
                _ if compact.split('.').count() != 3 => Some("encrypted tokens are not supported; refused"),
                _ if compact.split('.').nth(1) == Some("") || name.contains("b64_false") || name.contains("4_5") => {
                    Some("detached and unencoded payloads are no tokens; refused")
                }
                (Some("oct"), _) => Some("symmetric algorithms are never accepted; refused"),
                (_, Some("P-521")) => Some("P-521 is not supported; refused"),
                _ => None,
            },
            verdict.is_err(),
        );
        match unsupported {
            Some(reason) if refused => suite.exclude(reason),
            Some(_) => suite.count(false, || format!("{name}: accepted")),
            None => suite.count(verdict.is_ok(), || format!("{name}: {verdict:?}")),
        }
    }
    suite.print("JOSE cookbook, library");
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("vectors");
    let exclusions = read(&root.join("conformance/exclusions.json"));
    for name in ["json_web_signature_test", "json_web_key_test", "json_web_crypto_test", "json_web_encryption_test"] {
        wycheproof(&folder, name, &exclusions);
    }
    cookbook(&folder);
}
