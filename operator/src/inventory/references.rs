//! Which Secrets and ConfigMaps objects refer to. Only these are read, each by its name.

use std::collections::BTreeSet;

use portreeve_compiler::Inventory;
use portreeve_crds::CaBundleRefKind;
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
            let wrap = match trust.ca_ref.kind {
                CaBundleRefKind::ConfigMap => Reference::ConfigMap,
                CaBundleRefKind::Secret => Reference::Secret,
            };
            add(name.namespace(), &trust.ca_ref.name, wrap);
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
    for (name, registration) in &inventory.registrations {
        add(name.namespace(), &registration.spec.credentials_secret_name, Reference::Secret);
        if let Some(reference) = &registration.spec.software_statement_ref {
            add(name.namespace(), &reference.name, Reference::Secret);
        }
    }
    found
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
             {tokenServiceRef: {name: login}, credentialsSecretName: oauth, metadata: {clientName: a, grantTypes: []}}\n",
        );
        let found: Vec<_> = references(&manifests.inventory).into_iter().collect();
        let name = |text: &str| text.parse().unwrap();
        assert_eq!(
            found,
            [
                Reference::ConfigMap(name("id/ca")),
                Reference::Secret(name("id/dcr")),
                Reference::Secret(name("id/gw")),
                Reference::Secret(name("shop/oauth")),
            ]
        );
    }
}
