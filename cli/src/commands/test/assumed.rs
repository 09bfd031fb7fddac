//! What the operator would have fetched or made, and no folder of manifests holds: keys and endpoints of token services,
//! the gateway's own clients, its signing keys. Each is of the test alone; what the manifests hold is left as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context as _;
use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_compiler::{
    Discovered, DiscoveredEndpoints, Inventory, MtlsAliases, Options, Pod, SigningKey, gateway_clients, uses_of_secret,
};
use portreeve_policy::{AddressRange, KeySet, NamespacedName, Secret, SecretName};
use serde_json::{Map, Value, json};

/// A token service of the test.
pub(in crate::commands) struct Issuer {
    pub(in crate::commands) name: NamespacedName,
    /// `iss`
    pub(in crate::commands) url: String,
    key: Ed25519KeyPair,
}

/// The token services of the manifests.
pub(in crate::commands) type Issuers = BTreeMap<NamespacedName, Issuer>;

/// Settings of an installation where everything may be called: nothing is.
pub(in crate::commands) const OPTIONS: Options =
    Options { allow_http: true, addresses: AddressRange::PrivateAndPublic };

/// `kid` of every key of the test.
const KEY_ID: &str = "test";

/// Adds all of it to the inventory.
pub(in crate::commands) fn assume(inventory: &mut Inventory) -> anyhow::Result<Issuers> {
    let issuers = issuers(inventory)?;
    for (name, registration) in gateway_clients(inventory) {
        inventory.registrations.entry(name).or_insert_with(|| Arc::new(registration));
    }
    client_credentials(inventory)?;
    let namespaces: BTreeSet<_> = inventory.routes.keys().map(|name| name.namespace().to_owned()).collect();
    for namespace in namespaces {
        let key = signing_key(&namespace)?;
        inventory.signing_keys.entry(namespace).or_insert_with(|| Arc::new(key));
    }
    Ok(issuers)
}

/// A pod that a document asks.
pub(in crate::commands) fn pod(labels: BTreeMap<String, String>) -> Pod {
    Pod { labels, ready: true, uid: String::new() }
}

fn issuers(inventory: &mut Inventory) -> anyhow::Result<Issuers> {
    let mut issuers = Issuers::new();
    for (name, object) in &inventory.token_services {
        let issuer = Issuer { name: name.clone(), url: object.spec.issuer.clone(), key: key(name)? };
        let endpoint = |word: &str| Some(format!("https://{}.{}.test.invalid/{word}", name.name(), name.namespace()));
        let endpoints = DiscoveredEndpoints {
            introspection: endpoint("introspect"),
            registration: endpoint("register"),
            token: endpoint("token"),
            jwks: endpoint("jwks"),
            mtls: MtlsAliases::default(),
        };
        let discovered = Discovered { endpoints, keys: Some(issuer.key_set()?), left_out: Vec::new(), fault: None };
        inventory.discovered.insert(name.clone(), Arc::new(discovered));
        issuers.insert(name.clone(), issuer);
    }
    Ok(issuers)
}

/// The same on each run, so that output is too. It is worth nothing elsewhere.
fn key(name: &NamespacedName) -> anyhow::Result<Ed25519KeyPair> {
    let seed = digest(&SHA256, format!("portreeve test {name}").as_bytes());
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok().context("a seed has 32 bytes")
}

impl Issuer {
    fn key_set(&self) -> anyhow::Result<KeySet> {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": KEY_ID, "x": x}]});
        Ok(KeySet::parse(set.to_string().as_bytes())?.0)
    }

    /// A JWT of these claims (RFC 7515). Members of `header` take the place of ours; null leaves one out.
    pub(in crate::commands) fn sign(
        &self,
        typ: &str,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> String {
        let ours = json!({"alg": "EdDSA", "kid": KEY_ID, "typ": typ});
        let header = over(ours.as_object().cloned().unwrap_or_default(), header);
        let part = |members: &Map<String, Value>| URL_SAFE_NO_PAD.encode(json!(members).to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// The members of both; those of `winning` win, and null takes one out.
pub(in crate::commands) fn over(mut members: Map<String, Value>, winning: &Map<String, Value>) -> Map<String, Value> {
    members.extend(winning.clone());
    members.retain(|_, value| !value.is_null());
    members
}

/// A Secret for each of the gateway's clients that has none, as if a token service had registered it.
fn client_credentials(inventory: &mut Inventory) -> anyhow::Result<()> {
    let mut wanted = Vec::new();
    for (name, registration) in &inventory.registrations {
        let secret = NamespacedName::new(name.namespace(), &registration.spec.credentials_secret_name)?;
        let uses = BTreeMap::from([("portreeve.dev/registration".to_owned(), name.name().to_owned())]);
        wanted.push((secret, uses));
    }
    for (name, service) in &inventory.token_services {
        let named = service.spec.client.as_ref().and_then(|client| client.secret_ref.as_ref());
        if let Some(reference) = named {
            let secret = NamespacedName::new(name.namespace(), &reference.name)?;
            let uses = BTreeMap::from([("portreeve.dev/use".to_owned(), "client-credentials".to_owned())]);
            wanted.push((secret, uses));
        }
    }
    let key = rcgen::generate_simple_self_signed(["gateway.test.invalid".to_owned()])?;
    let secret = |text: String| Secret::new(text.into_bytes());
    let values = BTreeMap::from([
        ("client_id".to_owned(), secret("portreeve-test".to_owned())),
        ("client_secret".to_owned(), secret("of-the-test-alone".to_owned())),
        ("private_key".to_owned(), secret(key.signing_key.serialize_pem())),
        ("tls.crt".to_owned(), secret(key.cert.pem())),
        ("tls.key".to_owned(), secret(key.signing_key.serialize_pem())),
    ]);
    let values = Arc::new(values);
    for (name, annotations) in wanted {
        if !inventory.secrets.contains_key(&name) {
            inventory.secret_uses.insert(name.clone(), uses_of_secret(&annotations));
            inventory.secrets.insert(name, Arc::clone(&values));
        }
    }
    Ok(())
}

/// The key with which the gateway mints tokens for the routes of a namespace.
fn signing_key(namespace: &str) -> anyhow::Result<SigningKey> {
    let pair = rcgen::KeyPair::generate()?;
    // A point that is not compressed: 4, then both coordinates (SEC 1 section 2.3.3).
    let (x, y) = pair.public_key_raw().get(1..).and_then(|point| point.split_at_checked(32)).unwrap_or_default();
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": KEY_ID, "x": x, "y": y}]});
    Ok(SigningKey {
        name: SecretName::new(NamespacedName::new(namespace, "portreeve-signing")?, KEY_ID)?,
        key_id: KEY_ID.to_owned(),
        issuer: format!("urn:portreeve:{namespace}"),
        private_key: Secret::new(pair.serialize_pem().into_bytes()),
        published: KeySet::parse(set.to_string().as_bytes())?.0,
    })
}
