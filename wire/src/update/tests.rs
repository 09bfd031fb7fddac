use portreeve_policy::{NamespacedName, Secret, SecretName};
use proptest::prelude::*;

use super::*;
use crate::{DecodedResource, InvalidResource, decode_resource};

fn secret(name: &str, value: &str) -> Arc<EncodedResource> {
    let object: NamespacedName = "ns/oauth".parse().unwrap();
    Arc::new(encode_secret(&SecretName::new(object, name).unwrap(), &Secret::new(value.as_bytes().to_vec())))
}

fn set(values: &BTreeMap<String, String>) -> ResourceSet {
    ResourceSet::of(values.iter().map(|(name, value)| secret(name, value)))
}

/// What a proxy does with a delta, in its simplest form.
fn apply(held: &BTreeMap<ResourceName, Digest>, update: &Update) -> BTreeMap<ResourceName, Digest> {
    let mut held = held.clone();
    for name in &update.removals {
        held.remove(name);
    }
    held.extend(update.upserts.iter().map(|(name, digest, _)| (name.clone(), *digest)));
    held
}

proptest! {
    #[test]
    fn a_delta_leads_from_any_set_to_the_other(
        before in proptest::collection::btree_map("[a-e]", "[xyz]", 0..5),
        after in proptest::collection::btree_map("[a-e]", "[xyz]", 0..5),
    ) {
        let (before, after) = (set(&before), set(&after));
        let update = Update::try_from(after.delta(&before.digests(), 2)).unwrap();
        let held = apply(&before.digests(), &update);
        prop_assert_eq!(&held, &after.digests());
        let digest = set_digest(held.iter().map(|(name, digest)| (name, *digest)));
        prop_assert_eq!(digest, update.set_digest);
    }
}

#[test]
fn sends_nothing_that_is_held_already() {
    let values = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    let held = set(&values).digests();
    let changed = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())]);
    let update = set(&changed).delta(&held, 7);
    assert_eq!((update.upserts.len(), update.removals.len()), (1, 0));
}

#[test]
fn decodes_what_was_encoded_and_refuses_what_was_tampered_with() {
    let encoded = secret("key", "s3cret");
    let mut resource = encoded.to_proto();
    let DecodedResource::Secret(_, value) = decode_resource(&encoded.name, &resource).ok().unwrap() else {
        panic!("not a secret")
    };
    assert_eq!(value.expose(), b"s3cret");
    resource.digest = Bytes::copy_from_slice(secret("key", "other").digest.as_bytes());
    assert!(matches!(decode_resource(&encoded.name, &resource), Err(InvalidResource::DigestMismatch)));
    resource.payload = Bytes::from_static(b"not zstd");
    assert!(matches!(decode_resource(&encoded.name, &resource), Err(InvalidResource::NotCompressed)));
}

#[test]
fn refuses_a_kind_that_it_does_not_know() {
    let mut update = set(&BTreeMap::from([("a".to_owned(), "1".to_owned())])).delta(&BTreeMap::new(), 1);
    update.upserts[0].kind = "Quantum".to_owned();
    assert_eq!(Update::try_from(update).unwrap_err(), InvalidUpdate::UnknownKind("Quantum".to_owned()));
}

#[test]
fn refuses_a_decompression_bomb_d3() {
    let encoded = secret("key", &"a".repeat(crate::MAX_PAYLOAD + 1));
    let resource = encoded.to_proto();
    assert!(resource.payload.len() < 10_000);
    assert!(matches!(decode_resource(&encoded.name, &resource), Err(InvalidResource::TooLarge)));
}
