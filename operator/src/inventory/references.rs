//! Which Secrets and ConfigMaps objects refer to. Only these are read, each by its name.

use std::collections::BTreeSet;

use portreeve_compiler::Inventory;
use portreeve_crds::{CaBundleRef, CaBundleRefKind, v1alpha1::CredentialSpec};
use portreeve_policy::NamespacedName;

/// An object that is watched by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reference {
    ConfigMap(NamespacedName),
    Secret(NamespacedName),
}

/// Everything that is referred to.
pub(super) fn references(inventory: &Inventory) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    let mut add = |namespace: &str, name: &str, wrap: fn(NamespacedName) -> Reference| {
        found.extend(NamespacedName::new(namespace, name).ok().map(wrap));
    };
    for (name, service) in &inventory.token_services {
        let spec = &service.spec;
        if let Some(trust) = &spec.trust {
            add(name.namespace(), &trust.ca_ref.name, of_bundle(&trust.ca_ref));
        }
        let client = spec.client.as_ref().and_then(|client| client.secret_ref.as_ref());
        if let Some(reference) = client {
            add(name.namespace(), &reference.name, Reference::Secret);
        }
        let token = spec.registration.as_ref().and_then(|spec| spec.initial_access_token_ref.as_ref());
        if let Some(reference) = token {
            add(name.namespace(), &reference.name, Reference::Secret);
        }
    }
    for (name, policy) in &inventory.policies {
        let list = policy.spec.authentication.as_ref().and_then(|spec| spec.any_of.as_ref());
        for entry in list.into_iter().flatten() {
            let single = CredentialSpec::from(entry.clone());
            for credential in std::iter::once(&single).chain(entry.all_of.iter().flatten()) {
                for (reference, wrap) in of_credential(credential) {
                    add(name.namespace(), reference, wrap);
                }
            }
        }
    }
    for (name, registration) in &inventory.registrations {
        add(name.namespace(), &registration.spec.credentials_secret_name, Reference::Secret);
        if let Some(reference) = &registration.spec.software_statement_ref {
            add(name.namespace(), &reference.name, Reference::Secret);
        }
    }
    for (name, policy) in &inventory.policies {
        let cedar = policy.spec.authorization.as_ref().and_then(|spec| spec.cedar.as_ref());
        if let Some(reference) = cedar.and_then(|spec| spec.policy_ref.as_ref()) {
            add(name.namespace(), &reference.name, Reference::ConfigMap);
        }
    }
    for (name, policy) in &inventory.policies {
        let external = policy.spec.authorization.as_ref().and_then(|spec| spec.external.as_ref());
        if let Some(reference) = external.and_then(|spec| spec.ca_ref.as_ref()) {
            let wrap = match reference.kind {
                CaBundleRefKind::ConfigMap => Reference::ConfigMap,
                CaBundleRefKind::Secret => Reference::Secret,
            };
            add(name.namespace(), &reference.name, wrap);
        }
    }
    found
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
    use portreeve_compiler::manifest::Manifests;

    use super::*;

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
        let found: Vec<_> = references(&manifests.inventory).into_iter().collect();
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
}
