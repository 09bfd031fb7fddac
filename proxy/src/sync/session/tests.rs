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
            "upgrades": [], "policies": [], "state": {"ready": {"limits": "none", "authentication": "anonymous", "authorization": "anyone"}}}],
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
        session.snapshot().routes.values().next().unwrap().rules[0].state,
        portreeve_policy::RuleState::Ready(_)
    ));
    assert!(session.hello().is_empty(), "a rejected resource counts as not held");
}

#[test]
fn a_route_without_a_good_form_refuses_what_it_matches() {
    let mut session = Session::default();
    session.apply(update(1, route_resource(&route(("quantumSafe", json!(true)))))).unwrap();
    let routes = &session.snapshot().routes;
    assert!(matches!(routes.values().next().unwrap().rules[0].state, portreeve_policy::RuleState::Refusing(_)));
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

/// What may happen to a stream of updates.
#[derive(Debug, Clone)]
enum Event {
    /// The operator's set becomes another one, with a generation that rises.
    Edit(u8),
    /// An update for the present set is made.
    Send,
    /// One of the updates on the way arrives, whichever.
    Deliver(prop::sample::Index),
    /// The same, and it stays on the way.
    Duplicate(prop::sample::Index),
    /// One of them is lost.
    Lose(prop::sample::Index),
    /// The proxy starts again with what it stored.
    Restart,
    /// An operator of another clock takes over, whose revisions begin lower or higher.
    TakeOver(u8),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => any::<u8>().prop_map(Event::Edit),
        3 => Just(Event::Send),
        3 => any::<prop::sample::Index>().prop_map(Event::Deliver),
        1 => any::<prop::sample::Index>().prop_map(Event::Duplicate),
        1 => any::<prop::sample::Index>().prop_map(Event::Lose),
        1 => Just(Event::Restart),
        1 => any::<u8>().prop_map(Event::TakeOver),
    ]
}

/// The generation of the only route, written into a secret beside it.
fn generation_of(session: &Session) -> u64 {
    let held = session.snapshot().secrets.values().next();
    held.and_then(|secret| secret.expose_str()?.split(' ').next()?.parse().ok()).unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// B10: whatever happens to updates on the way, the generation that runs never falls below one that ran, the revision
    /// neither, and once the way is good again the proxy runs what the operator has.
    #[test]
    fn b10_no_history_of_pushes_makes_a_generation_fall(history in proptest::collection::vec(event(), 1..24)) {
        let mut session = Session::default();
        let (mut generation, mut content, mut clock) = (1_u64, 0_u8, 1_u64);
        let mut way: Vec<proto::Update> = Vec::new();
        let (mut ran, mut revision) = (0, 0);
        let present = |generation: u64, content: u8| set(&[("a", &format!("{generation} {content}"))]);
        for event in history.into_iter().chain([Event::Send]) {
            let mut arrived = None;
            match event {
                Event::Edit(next) => (generation, content) = (generation + 1, next),
                Event::Send => {
                    clock = clock.max(session.revision()) + 1;
                    way.push(present(generation, content).delta(&digests(&session), clock));
                }
                Event::Deliver(which) if !way.is_empty() => arrived = Some(way.swap_remove(which.index(way.len()))),
                Event::Duplicate(which) if !way.is_empty() => arrived = Some(way[which.index(way.len())].clone()),
                Event::Lose(which) if !way.is_empty() => drop(way.swap_remove(which.index(way.len()))),
                Event::Deliver(_) | Event::Duplicate(_) | Event::Lose(_) => {}
                // A new stream each time: what was on the way of the old one never arrives.
                Event::Restart => {
                    way.clear();
                    let stored = session.to_stored(0);
                    if stored.revision > 0 {
                        session = Session::restore(stored).unwrap();
                    }
                }
                // The one that comes learns by Hello what the proxy has seen.
                Event::TakeOver(begin) => {
                    way.clear();
                    clock = u64::from(begin);
                }
            }
            if let Some(update) = arrived {
                drop(session.apply(update));
            }
            prop_assert!(session.revision() >= revision, "revision {} after {revision}", session.revision());
            prop_assert!(generation_of(&session) >= ran, "generation {} after {ran}", generation_of(&session));
            (ran, revision) = (generation_of(&session), session.revision());
        }
        clock = clock.max(session.revision()) + 1;
        session.apply(present(generation, content).delta(&digests(&session), clock)).unwrap();
        prop_assert_eq!(generation_of(&session), generation);
    }
}
