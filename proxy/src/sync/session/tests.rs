use portreeve_policy::{NamespacedName, Secret, SecretName};
use portreeve_wire::{EncodedResource, ResourceSet, encode_secret};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn secret(name: &str, value: &str) -> Arc<EncodedResource> {
    let object: NamespacedName = "ns/oauth".parse().unwrap();
    Arc::new(encode_secret(&SecretName::new(object, name).unwrap(), &Secret::new(value.as_bytes().to_vec())))
}

fn set(pairs: &[(&str, &str)]) -> ResourceSet {
    ResourceSet::of(pairs.iter().map(|(name, value)| secret(name, value)))
}

fn digests(session: &Session) -> BTreeMap<ResourceName, Digest> {
    session.held.iter().map(|(name, (digest, _))| (name.clone(), *digest)).collect()
}

/// A route in the JSON of some version, as the operator would send it.
fn route_resource(route: &serde_json::Value) -> proto::Resource {
    let payload = route.to_string();
    // Secrets are encoded as they are: the shortest way to a payload of any text.
    let encoded = secret("x", &payload).to_proto();
    proto::Resource { kind: "Route".to_owned(), name: "shop/orders".to_owned(), ..encoded }
}

fn update(revision: u64, resource: proto::Resource) -> proto::Update {
    let name = ResourceName { kind: ResourceKind::Route, name: resource.name.clone() };
    let digest = Digest::try_from(resource.digest.as_ref()).unwrap();
    let whole = set_digest([(&name, digest)].into_iter());
    proto::Update {
        revision,
        set_digest: Bytes::copy_from_slice(whole.as_bytes()),
        upserts: vec![resource],
        removals: Vec::new(),
    }
}

fn route(more: (&str, serde_json::Value)) -> serde_json::Value {
    let mut route = json!({
        "generation": 1, "hostnames": [],
        "upstream": {"port": 8080, "protocol": "Http1", "forwarded": "Forwarded", "maxConnections": 1},
        "rules": [{"name": "all", "matches": [{"path": {"prefix": "/"}, "methods": [], "headers": []}], "timeout": 1000,
            "upgrades": [], "policies": [], "access": {"guarded": {"authentication": "anonymous", "authorization": "anyone"}}}],
    });
    route[more.0] = more.1;
    route
}

#[test]
fn refuses_a_revision_that_does_not_rise_and_changes_nothing_o7() {
    let mut session = Session::default();
    session.apply(set(&[("a", "1")]).delta(&BTreeMap::new(), 5)).unwrap();
    for revision in [0, 4, 5] {
        let update = set(&[("a", "2")]).delta(&digests(&session), revision);
        assert!(session.apply(update).is_err());
    }
    assert_eq!((session.revision(), session.snapshot().secrets.values().next().unwrap().expose()), (5, &b"1"[..]));
}

#[test]
fn refuses_an_update_whose_set_is_another_and_changes_nothing_o8() {
    let mut session = Session::default();
    session.apply(set(&[("a", "1")]).delta(&BTreeMap::new(), 1)).unwrap();
    // Made for a proxy that holds nothing: here `a` would be left over.
    let update = set(&[("b", "2")]).delta(&BTreeMap::new(), 2);
    assert!(session.apply(update).is_err());
    assert_eq!((session.revision(), session.snapshot().secrets.len()), (1, 1));
}

#[test]
fn keeps_the_last_good_form_of_a_route_that_it_does_not_understand_o8() {
    let mut session = Session::default();
    session.apply(update(1, route_resource(&route(("generation", json!(1)))))).unwrap();
    let newer = route_resource(&route(("quantumSafe", json!(true))));
    session.apply(update(2, newer)).unwrap();
    assert_eq!(session.rejections().len(), 1);
    assert!(matches!(
        session.snapshot().routes.values().next().unwrap().rules[0].access,
        portreeve_policy::Access::Guarded { .. }
    ));
    assert!(session.hello().is_empty(), "a rejected resource counts as not held");
}

#[test]
fn a_route_without_a_good_form_refuses_what_it_matches() {
    let mut session = Session::default();
    session.apply(update(1, route_resource(&route(("quantumSafe", json!(true)))))).unwrap();
    let routes = &session.snapshot().routes;
    assert!(matches!(routes.values().next().unwrap().rules[0].access, portreeve_policy::Access::Refused(_)));
}

proptest! {
    #[test]
    fn follows_any_history_with_loss_and_restart(
        history in proptest::collection::vec(
            (proptest::collection::btree_map("[a-d]", "[xyz]", 0..4), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut session = Session::default();
        for (number, (wanted, lost, restarted)) in history.iter().enumerate() {
            let wanted: Vec<_> = wanted.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let target = set(&wanted);
            let revision = session.revision() + 1 + number as u64 % 3;
            if *restarted {
                let stored = session.to_stored(0);
                if stored.revision > 0 {
                    session = Session::restore(stored).unwrap();
                }
            }
            if !*lost {
                session.apply(target.delta(&digests(&session), revision)).unwrap();
                prop_assert_eq!(digests(&session), target.digests());
                prop_assert_eq!(session.snapshot().secrets.len(), wanted.len());
            }
        }
    }
}
