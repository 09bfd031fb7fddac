//! The caller as a Cedar entity: `User`, with roles and groups as parents and typed claims as attributes.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use cedar_policy::{Entities, Entity, EntityTypeName, EntityUid, RestrictedExpression};
use portreeve_policy::{CedarRule, ClaimAttribute, ClaimPath, ClaimType};
use serde_json::Value;

use super::cedar::{Names, entity_id};
use crate::{authn::VerifiedCredential, heap_size::HeapSize};

/// A principal, built.
pub(super) struct Principal {
    /// Never given to two principals, so that it stands for all that this one holds.
    pub(super) number: u64,
    pub(super) uid: EntityUid,
    /// The entity, in a store of its own.
    pub(super) alone: Entities,
    bytes: usize,
}

/// What Cedar needs for an entity, and for each attribute, element or parent beside its text, in bytes. Measured, and
/// held against the allocator by a test.
const ENTITY: usize = 2560;
const VALUE: usize = 192;

impl HeapSize for Principal {
    fn heap_bytes(&self) -> usize {
        self.bytes
    }
}

/// A claim that is missing or of another type than the policy declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit;

/// `authority#subject`. The authority is the verified one, never a claim: an issuer has no fragment (RFC 8414 section 2),
/// and places of other credentials have none, so that no two callers share a name.
fn name(credential: &VerifiedCredential) -> String {
    format!("{}#{}", credential.origin().authority(), credential.claims().subject().unwrap_or_default())
}

pub(super) fn uid(kind: &EntityTypeName, name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), entity_id(name))
}

impl Principal {
    pub(super) fn new(rule: &CedarRule, names: &Names, credential: &VerifiedCredential) -> Result<Self, Unfit> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let claims = credential.claims();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let scopes = claims.scopes().map(text);
        let mut attributes = HashMap::from([
            ("issuer".to_owned(), text(credential.origin().authority())),
            ("scopes".to_owned(), RestrictedExpression::new_set(scopes)),
        ]);
        attributes.extend(claims.subject().map(|subject| ("sub".to_owned(), text(subject))));
        let client = claims.client_id().map(|id| RestrictedExpression::new_entity_uid(uid(&names.client, id)));
        attributes.extend(client.map(|client| ("client".to_owned(), client)));
        let object = claims.object();
        for (attribute, declared) in &rule.claims {
            let value = typed(declared, &object)?;
            attributes.extend(value.map(|value| (attribute.clone(), value)));
        }
        let mut parents = HashSet::new();
        for (path, kind) in [(&rule.roles, &names.role), (&rule.groups, &names.group)] {
            if let Some(path) = path {
                parents.extend(texts(path, &object)?.map(|name| uid(kind, name)));
            }
        }
        let values = attributes.len().saturating_add(parents.len()).saturating_add(claims.scopes().count());
        // Every text of the claims may stand in it, both in the entity and in the store.
        let texts = claims.heap_bytes().saturating_mul(2);
        let bytes = values.saturating_mul(VALUE).saturating_add(texts).saturating_add(ENTITY);
        let me = uid(&names.user, &name(credential));
        let unfit = |_ignored: cedar_policy::EntityAttrEvaluationError| Unfit;
        let entity = Entity::new(me.clone(), attributes, parents).map_err(unfit)?;
        let alone = Entities::from_entities([entity], None);
        let alone = alone.map_err(|_ignored: cedar_policy::entities_errors::EntitiesError| Unfit)?;
        Ok(Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), uid: me, alone, bytes })
    }
}

/// The value of an attribute; `None` for an optional claim that is not there.
fn typed(declared: &ClaimAttribute, claims: &Value) -> Result<Option<RestrictedExpression>, Unfit> {
    if declared.kind == ClaimType::SetOfString {
        let there = !declared.path.select(claims).is_empty();
        let set = || {
            texts(&declared.path, claims).map(|list| list.map(|one| RestrictedExpression::new_string(one.to_owned())))
        };
        return match (there, declared.optional) {
            (true, _) => Ok(Some(RestrictedExpression::new_set(set()?))),
            (false, true) => Ok(None),
            (false, false) => Err(Unfit),
        };
    }
    let nodes = declared.path.select(claims);
    let value = match nodes.as_slice() {
        [] if declared.optional => return Ok(None),
        [value] => *value,
        _ => return Err(Unfit),
    };
    let typed = match declared.kind {
        ClaimType::Boolean => value.as_bool().map(RestrictedExpression::new_bool),
        ClaimType::Long => value.as_i64().map(RestrictedExpression::new_long),
        ClaimType::String => value.as_str().map(|text| RestrictedExpression::new_string(text.to_owned())),
        ClaimType::SetOfString => None,
    };
    typed.map(Some).ok_or(Unfit)
}

/// Texts of a list that is selected as a whole, of several selected values, or of one; anything else does not fit.
fn texts<'a>(path: &ClaimPath, claims: &'a Value) -> Result<impl Iterator<Item = &'a str>, Unfit> {
    let nodes = path.select(claims);
    let elements: Vec<&Value> = match nodes.as_slice() {
        [Value::Array(list)] => list.iter().collect(),
        several => several.to_vec(),
    };
    let texts: Vec<&str> = elements.into_iter().map(|value| value.as_str().ok_or(Unfit)).collect::<Result<_, _>>()?;
    Ok(texts.into_iter())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{authz::cedar::Names, heap_size::tests::taken};

    #[test]
    fn m4_principals_are_named_by_who_vouches_for_them_and_never_by_a_claim() {
        use std::sync::Arc;

        use crate::{authn::Origin, clock::UnixMillis};
        let login = Origin::token_service("https://login", "x");
        let held = |kind: &str, place: &str| Origin::held(kind, place);
        let name_of = |claims: Value, origin: &Arc<Origin>| {
            name(&VerifiedCredential::of_claims(claims.as_object().unwrap(), origin, UnixMillis(0)).unwrap())
        };
        let claims = json!({"sub": "admin", "iss": "https://login"});
        let names = [
            name_of(json!({"sub": "admin"}), &login),
            name_of(claims.clone(), &held("signedApiKey", "orders")),
            name_of(claims.clone(), &held("apiKey", "shop/keys/keys")),
            name_of(claims.clone(), &held("basic", "shop/users/htpasswd")),
            name_of(claims.clone(), &held("basic", "shop/others/htpasswd")),
            name_of(claims.clone(), &held("digest", "shop/users/htpasswd")),
            name_of(claims, &held("certificate", "")),
        ];
        assert_eq!(names[0], "https://login#admin", "the issuer of the token service, whatever its answer says");
        assert_eq!(names[3], "basic:shop/users/htpasswd#admin");
        let distinct: HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    #[test]
    fn a_principal_never_takes_more_than_it_is_weighed() {
        let kind = |text: &str| text.parse::<EntityTypeName>().unwrap();
        let names = Names { user: kind("User"), role: kind("Role"), group: kind("Group"), client: kind("Client") };
        for size in [0, 1, 20, 200] {
            let many = |word: &str| (0..size).map(|number| format!("{word}_{number}")).collect::<Vec<_>>();
            let attributes: serde_json::Map<_, _> = many("claim")
                .into_iter()
                .map(|name| (name.clone(), json!({"path": format!("$.{name}"), "kind": "String", "optional": true})))
                .collect();
            let rule: CedarRule = serde_json::from_value(json!({
                "text": "", "roles": "$.roles", "groups": "$.groups", "pathParameters": [], "headers": [], "reads": [],
                "claims": attributes,
            }))
            .unwrap();
            let mut claims = json!({
                "iss": "https://issuer.example", "sub": "ada", "client_id": "shop", "scope": many("scope").join(" "),
                "roles": many("role"), "groups": many("group"),
            });
            claims.as_object_mut().unwrap().extend(many("claim").into_iter().map(|name| (name, json!("value"))));
            let credential = VerifiedCredential::of_claims_for_tests(&claims);
            drop(Principal::new(&rule, &names, &credential).unwrap());
            let (bytes, principal) = taken(|| Principal::new(&rule, &names, &credential).unwrap());
            println!("{size}: takes {bytes}, weighed {}", principal.heap_bytes());
            assert!(bytes <= principal.heap_bytes(), "{size}: {bytes} > {}", principal.heap_bytes());
            assert!(principal.heap_bytes() <= bytes.saturating_mul(4), "{size}: {bytes} << {}", principal.heap_bytes());
        }
    }
}
