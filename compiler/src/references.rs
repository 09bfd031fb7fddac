//! Which Secrets and ConfigMaps objects refer to. Only these are read, each by its name.
//!
//! INVARIANTS
//! - One object refers to at most [`MAX_OF_OBJECT`] of them, the objects of one namespace to at most
//!   [`MAX_OF_NAMESPACE`]; of an object beyond that nothing is read, so that it is refused and others are not.
//! - A name counts once, however often it stands there, and whether or not the object exists.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_crds::{
    CaBundleRef, CaBundleRefKind, ObjectKind, ObjectRef,
    v1alpha1::{ApiPolicy, ClientRegistration, CredentialSpec, TokenService},
};
use portreeve_policy::NamespacedName;

use crate::{Inventory, compiled::reference};

/// Most Secrets and ConfigMaps of one object.
pub const MAX_OF_OBJECT: usize = 128;

/// Most of all objects of one namespace together.
pub const MAX_OF_NAMESPACE: usize = 4096;

/// An object that is watched by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the kinds of Kubernetes")]
pub enum Reference {
    ConfigMap(NamespacedName),
    Secret(NamespacedName),
}

/// What is referred to, within the bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Everything that is to be read.
    pub wanted: BTreeSet<Reference>,
    /// Objects beyond a bound, with what is wrong.
    pub over: BTreeMap<ObjectRef, String>,
}

/// Everything that is referred to. Of the objects of a namespace the older ones count first.
pub fn references(inventory: &Inventory) -> References {
    let mut by_namespace: BTreeMap<&str, Vec<Names>> = BTreeMap::new();
    let add = |kind, name: &NamespacedName, metadata: &ObjectMeta, found: BTreeSet<Reference>| {
        (reference(kind, name), age(metadata), found)
    };
    let mut all = Vec::new();
    for (name, object) in &inventory.token_services {
        all.push((name, add(ObjectKind::TokenService, name, &object.metadata, of_token_service(name, object))));
    }
    for (name, object) in &inventory.policies {
        all.push((name, add(ObjectKind::ApiPolicy, name, &object.metadata, of_policy(name, object))));
    }
    for (name, object) in &inventory.registrations {
        all.push((name, add(ObjectKind::ClientRegistration, name, &object.metadata, of_registration(name, object))));
    }
    for (name, (object, age, found)) in all {
        if !found.is_empty() {
            by_namespace.entry(name.namespace()).or_default().push((age, object, found));
        }
    }
    let mut references = References::default();
    for (namespace, mut objects) in by_namespace {
        objects.sort();
        let mut of_namespace: BTreeSet<Reference> = BTreeSet::new();
        for (_, object, found) in objects {
            if found.len() > MAX_OF_OBJECT {
                let message = format!(
                    "it refers to {} Secrets and ConfigMaps; at most {MAX_OF_OBJECT} are read for one object",
                    found.len()
                );
                references.over.insert(object, message);
            } else if of_namespace.union(&found).count() > MAX_OF_NAMESPACE {
                let message = format!(
                    "older objects of namespace {namespace} refer to so many Secrets and ConfigMaps that with this one \
                     there would be more than {MAX_OF_NAMESPACE}"
                );
                references.over.insert(object, message);
            } else {
                of_namespace.extend(found);
            }
        }
        references.wanted.extend(of_namespace);
    }
    references
}

/// The names of one object, in the order in which objects count.
type Names = (Age, ObjectRef, BTreeSet<Reference>);

/// Older first; one without a time is not from a cluster, where all have one.
type Age = (bool, Option<i64>);

fn age(metadata: &ObjectMeta) -> Age {
    let created = metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    (created.is_none(), created)
}

/// Collects the names of one object.
struct Collector<'a> {
    namespace: &'a str,
    found: BTreeSet<Reference>,
}

impl<'a> Collector<'a> {
    fn of(name: &'a NamespacedName) -> Self {
        Self { namespace: name.namespace(), found: BTreeSet::new() }
    }

    fn add(&mut self, name: &str, wrap: Wrap) {
        self.found.extend(NamespacedName::new(self.namespace, name).ok().map(wrap));
    }
}

fn of_token_service(name: &NamespacedName, service: &TokenService) -> BTreeSet<Reference> {
    let mut names = Collector::of(name);
    let spec = &service.spec;
    if let Some(trust) = &spec.trust {
        names.add(&trust.ca_ref.name, of_bundle(&trust.ca_ref));
    }
    if let Some(client) = &spec.client {
        if let Some(reference) = &client.secret_ref {
            names.add(&reference.name, Reference::Secret);
        }
        if let Some(reference) = &client.initial_access_token_ref {
            names.add(&reference.name, Reference::Secret);
        }
    }
    if let Some(reference) = spec.registration.as_ref().and_then(|spec| spec.initial_access_token_ref.as_ref()) {
        names.add(&reference.name, Reference::Secret);
    }
    names.found
}

fn of_policy(name: &NamespacedName, policy: &ApiPolicy) -> BTreeSet<Reference> {
    let mut names = Collector::of(name);
    let list = policy.spec.authentication.as_ref().and_then(|spec| spec.any_of.as_ref());
    for entry in list.into_iter().flatten() {
        let single = CredentialSpec::from(entry.clone());
        for credential in std::iter::once(&single).chain(entry.all_of.iter().flatten()) {
            for (reference, wrap) in of_credential(credential) {
                names.add(reference, wrap);
            }
        }
    }
    let authorization = policy.spec.authorization.as_ref();
    if let Some(reference) =
        authorization.and_then(|spec| spec.cedar.as_ref()).and_then(|spec| spec.policy_ref.as_ref())
    {
        names.add(&reference.name, Reference::ConfigMap);
    }
    if let Some(reference) = authorization.and_then(|spec| spec.external.as_ref()).and_then(|spec| spec.ca_ref.as_ref())
    {
        names.add(&reference.name, of_bundle(reference));
    }
    names.found
}

fn of_registration(name: &NamespacedName, registration: &ClientRegistration) -> BTreeSet<Reference> {
    let mut names = Collector::of(name);
    names.add(&registration.spec.credentials_secret_name, Reference::Secret);
    if let Some(reference) = &registration.spec.software_statement_ref {
        names.add(&reference.name, Reference::Secret);
    }
    names.found
}

/// Makes a reference of a name.
type Wrap = fn(NamespacedName) -> Reference;

/// What one credential of a policy refers to.
fn of_credential(spec: &CredentialSpec) -> Vec<(&str, Wrap)> {
    let CredentialSpec { api_key, basic, client_certificate, digest, exchange: _, introspection: _, jwt: _ } = spec;
    let mut found: Vec<(&str, Wrap)> = Vec::new();
    if let Some(spec) = api_key {
        found.extend(spec.secret_refs.iter().flatten().map(|one| (one.name.as_str(), Reference::Secret as Wrap)));
        let signed = spec.signed.iter().map(|signed| &signed.key_set_ref);
        found.extend(signed.map(|bundle| (bundle.name.as_str(), of_bundle(bundle))));
    }
    let users = basic.iter().map(|spec| &spec.users_ref).chain(digest.iter().map(|spec| &spec.users_ref));
    found.extend(users.map(|one| (one.name.as_str(), Reference::Secret as Wrap)));
    if let Some(spec) = client_certificate {
        let bundles = std::iter::once(&spec.ca_ref).chain(&spec.crl_ref);
        found.extend(bundles.map(|bundle| (bundle.name.as_str(), of_bundle(bundle))));
    }
    found
}

fn of_bundle(reference: &CaBundleRef) -> Wrap {
    match reference.kind {
        CaBundleRefKind::ConfigMap => Reference::ConfigMap,
        CaBundleRefKind::Secret => Reference::Secret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifests;

    #[test]
    fn finds_every_kind_of_reference() {
        let mut manifests = Manifests::default();
        manifests.read(
            "a.yaml",
            "apiVersion: portreeve.dev/v1alpha1\nkind: TokenService\nmetadata: {name: login, namespace: id}\nspec:\n  issuer: \
             https://login.test\n  trust: {caRef: {kind: ConfigMap, name: ca, key: ca.crt}}\n  client: {secretRef: {name: \
             gw}}\n  registration: {initialAccessTokenRef: {name: dcr, key: token}}\n---\napiVersion: \
             portreeve.dev/v1alpha1\nkind: ClientRegistration\nmetadata: {name: shop, namespace: shop}\nspec: \
             {tokenServiceRef: {name: login}, credentialsSecretName: oauth, metadata: {clientName: a, grantTypes: []}}\n---\n\
             apiVersion: portreeve.dev/v1alpha1\nkind: ApiPolicy\nmetadata: {name: rules, namespace: shop}\nspec:\n  \
             targetRefs: [{kind: ApiRoute, name: a}]\n  authorization: {cedar: {policyRef: {name: cedar, key: \
             a.cedar}}}\n",
        );
        let found: Vec<_> = references(&manifests.inventory).wanted.into_iter().collect();
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(
            found,
            [
                Reference::ConfigMap(name("id/ca")),
                Reference::ConfigMap(name("shop/cedar")),
                Reference::Secret(name("id/dcr")),
                Reference::Secret(name("id/gw")),
                Reference::Secret(name("shop/oauth")),
            ]
        );
    }

    fn policy(name: &str, secrets: usize, from: usize) -> String {
        let entry = |i: usize| {
            let names = (0..16).map(|j| format!("{{name: s{}}}", from + i * 16 + j)).collect::<Vec<_>>().join(", ");
            format!("    - apiKey: {{secretRefs: [{names}]}}\n")
        };
        let entries: String = (0..secrets / 16).map(entry).collect();
        format!(
            "apiVersion: portreeve.dev/v1alpha1\nkind: ApiPolicy\nmetadata: {{name: {name}, namespace: tenant}}\nspec:\n  \
             targetRefs: [{{kind: ApiRoute, name: a}}]\n  authentication:\n    anyOf:\n{entries}---\n"
        )
    }

    fn of(text: &str) -> References {
        let mut manifests = Manifests::default();
        manifests.read("a.yaml", text);
        assert!(manifests.faults.is_empty(), "{:?}", manifests.faults);
        references(&manifests.inventory)
    }

    #[test]
    fn k3_four_policies_of_2048_names_are_read_for_nobody_and_cost_nothing() {
        let hostile: String = ["a", "b", "c", "d"].map(|name| policy(name, 2048, 0)).concat();
        let honest = policy("e", 128, 0);
        let found = of(&format!("{hostile}{honest}"));
        assert_eq!((found.wanted.len(), found.over.len()), (128, 4), "the fifth is honest");
    }

    #[test]
    fn k3_a_namespace_is_bounded_and_names_count_once() {
        let many: String = (0..34).map(|i| policy(&format!("p{i:02}"), 128, i * 128)).collect();
        let found = of(&many);
        assert_eq!((found.wanted.len(), found.over.len()), (MAX_OF_NAMESPACE, 2));
        let same: String = (0..20).map(|i| policy(&format!("p{i}"), 128, 0)).collect();
        let found = of(&same);
        assert_eq!((found.wanted.len(), found.over.len()), (128, 0));
    }
}
