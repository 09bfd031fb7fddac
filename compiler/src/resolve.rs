//! Second pass: every reference is found and allowed, or there is a diagnostic.

mod authentication;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use authentication::References;
use portreeve_crds::{
    CaBundleRef, CaBundleRefKind, ConditionReason, TokenServiceRef,
    v1alpha1::{ApiPolicy, CredentialSpec, MintSpec, TokenService},
};
use portreeve_policy::{InvalidName, NamespacedName, Secret};

use crate::{Inventory, namespaces::may_refer, pem::PemKind, validate::ValidTokenService};

/// Why a reference does not hold: reason, and a message that names both ends and the cure.
pub(crate) type Unresolved = (ConditionReason, String);

/// Token services by name; `None` for one that is there but broken.
pub(crate) type Services = BTreeMap<NamespacedName, Option<ValidTokenService>>;

/// Finds the TokenService that an object of namespace `from` refers to, if its owner allows that.
pub(crate) fn find_token_service<'a>(
    inventory: &'a Inventory,
    from: &str,
    reference: &TokenServiceRef,
) -> Result<(NamespacedName, &'a TokenService), Unresolved> {
    let namespace = reference.namespace.as_deref().unwrap_or(from);
    let missing = || {
        let message =
            format!("TokenService {namespace}/{} does not exist; create it or correct the name", reference.name);
        (ConditionReason::UnresolvedReference, message)
    };
    let name = NamespacedName::new(namespace, &reference.name).map_err(|_ignored: InvalidName| missing())?;
    let service = inventory.token_services.get(&name).ok_or_else(missing)?;
    if may_refer(inventory, service, namespace, from) {
        return Ok((name, service));
    }
    let message =
        format!("TokenService {name} is not open to namespace {from}; its owner can say so in spec.allowedNamespaces");
    Err((ConditionReason::NotPermitted, message))
}

/// Namespaces whose policies have tokens minted, so that the gateway needs a signing key there.
pub fn minting_namespaces(inventory: &Inventory) -> BTreeSet<String> {
    let mints = |policy: &ApiPolicy| {
        let list = policy.spec.authentication.as_ref().and_then(|spec| spec.any_of.as_ref());
        list.into_iter().flatten().any(|entry| {
            let single = CredentialSpec::from(entry.clone());
            std::iter::once(&single).chain(entry.all_of.iter().flatten()).any(|one| mint_of(one).is_some())
        })
    };
    let found = inventory.policies.iter().filter(|(_, policy)| mints(policy));
    found.map(|(name, _)| name.namespace().to_owned()).collect()
}

fn mint_of(spec: &CredentialSpec) -> Option<&MintSpec> {
    let CredentialSpec { api_key, basic, client_certificate, digest, exchange, introspection, jwt } = spec;
    let mints = [
        api_key.as_ref().and_then(|spec| spec.mint.as_ref()),
        basic.as_ref().and_then(|spec| spec.mint.as_ref()),
        client_certificate.as_ref().and_then(|spec| spec.mint.as_ref()),
        digest.as_ref().and_then(|spec| spec.mint.as_ref()),
        exchange.as_ref().and_then(|spec| spec.mint.as_ref()),
        introspection.as_ref().and_then(|spec| spec.mint.as_ref()),
        jwt.as_ref().and_then(|spec| spec.mint.as_ref()),
    ];
    mints.into_iter().flatten().next()
}

/// Certificate authorities that a token service is to be trusted with; empty when only the system's count.
pub fn ca_certificates(
    inventory: &Inventory,
    name: &NamespacedName,
    service: &TokenService,
) -> Result<String, (ConditionReason, String)> {
    let Some(trust) = &service.spec.trust else { return Ok(String::new()) };
    ca_bundle(inventory, name.namespace(), &trust.ca_ref)
}

/// Certificate authorities that an object of this namespace refers to.
pub(crate) fn ca_bundle(
    inventory: &Inventory,
    namespace: &str,
    reference: &CaBundleRef,
) -> Result<String, (ConditionReason, String)> {
    let unresolved = |message: String| (ConditionReason::UnresolvedReference, message);
    let found = referenced_text(inventory, namespace, reference);
    let (object, text) = found.map_err(|error| unresolved(error.to_string()))?;
    let text = text.ok_or_else(|| unresolved(format!("{object} has no text under {:?}", reference.key)))?;
    // A broken bundle must not fall back to the system's authorities (M3).
    let fault = |fault| unresolved(format!("{object} key {:?} {fault}", reference.key));
    PemKind::Certificate.only(&text).map_err(fault)
}

/// The object that is referred to, with its kind, and the text that it holds under the key.
fn referenced_text(
    inventory: &Inventory,
    namespace: &str,
    reference: &CaBundleRef,
) -> Result<(String, Option<String>), InvalidName> {
    let object = NamespacedName::new(namespace, &reference.name)?;
    Ok(match reference.kind {
        CaBundleRefKind::ConfigMap => {
            let held = inventory.config_maps.get(&object).and_then(|map| map.get(&reference.key));
            (format!("ConfigMap {object}"), held.cloned())
        }
        CaBundleRefKind::Secret => {
            let held = inventory.secrets.get(&object).and_then(|map| map.get(&reference.key));
            (format!("Secret {object}"), held.and_then(Secret::expose_str).map(str::to_owned))
        }
    })
}
