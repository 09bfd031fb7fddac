//! What a fuzzer calls; see the module of the same name in `policy`.

use portreeve_policy::AddressRange;

use crate::{Options, compile, manifest::Manifests, pem::PemKind};

/// Every target of this crate.
pub const TARGETS: [portreeve_policy::fuzz::Target; 4] = [
    ("cedar", cedar),
    ("manifests", manifests),
    ("objects", objects),
    ("pem", |data| drop(PemKind::Certificate.only(&String::from_utf8_lossy(data)))),
];

/// Texts as an ApiPolicy would hold them.
fn cedar(data: &[u8]) {
    let text = serde_json::Value::from(String::from_utf8_lossy(data).into_owned());
    let policy = serde_json::json!({
        "apiVersion": "portreeve.dev/v1alpha1", "kind": "ApiPolicy", "metadata": {"name": "a", "namespace": "a"},
        "spec": {
            "targetRefs": [{"kind": "ApiRoute", "name": "a"}],
            "authorization": {"cedar": {"policy": text, "claims": [{"name": "tenant", "type": "String"}]}},
        },
    });
    manifests(policy.to_string().as_bytes());
}

/// Any bytes as a file: read, compiled, and told with their places.
fn manifests(data: &[u8]) {
    let mut manifests = Manifests::default();
    manifests.read_bytes("fuzz.yaml", data);
    let options = Options { allow_http: true, addresses: AddressRange::PrivateAndPublic };
    let compiled = compile(&manifests.inventory, options);
    for diagnostic in &compiled.diagnostics {
        drop(manifests.place(diagnostic));
    }
}

/// Objects of our kinds beside a route and a pod that are right: the spec is what the bytes say.
fn objects(data: &[u8]) {
    let Some((kind, spec)) = data.split_first() else { return };
    let kinds = portreeve_crds::ObjectKind::ALL;
    let kind = kinds.get(usize::from(*kind) % kinds.len()).map_or("ApiRoute", |kind| kind.as_str());
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: a, labels: {{app: a}}}}\n---\napiVersion: \
         portreeve.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: a, namespace: a}}\nspec:\n"
    );
    for line in String::from_utf8_lossy(spec).lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    manifests(text.as_bytes());
}
