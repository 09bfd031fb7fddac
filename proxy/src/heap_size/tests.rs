//! Footprints against the allocator: what is weighed is never less than what is taken, and not many times more.

use std::collections::BTreeMap;

use portreeve_policy::TokenService;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    authn::{
        TokenDigester, TokenServiceClient, VerifiedCredential,
        signed_tokens::{key_set, sign},
    },
    bounded_cache::BoundedCache,
    clock::SystemClock,
    outbound::Network,
};

/// Bytes that this thread holds more than before, with the value that it made.
pub(crate) fn taken<T>(make: impl FnOnce() -> T) -> (usize, T) {
    use tikv_jemalloc_ctl::thread::{allocatedp, deallocatedp};
    let (allocated, freed) = (allocatedp::read().unwrap(), deallocatedp::read().unwrap());
    let (before, released) = (allocated.get(), freed.get());
    let value = make();
    let (after, gone) = (allocated.get() - before, freed.get() - released);
    (usize::try_from(after).unwrap() - usize::try_from(gone).unwrap(), value)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..12).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,24}", inner, 0..12)
                .prop_map(|members: BTreeMap<_, _>| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn json_never_takes_more_than_it_is_weighed(value in any_json()) {
        let text = value.to_string();
        let (bytes, parsed) = taken(|| serde_json::from_str::<Value>(&text).unwrap());
        prop_assert!(bytes <= parsed.heap_bytes(), "{bytes} > {} for {text}", parsed.heap_bytes());
    }
}

/// The claims of a usual access token of 800 bytes, of which 340 are an RS256 signature.
fn claims(number: usize) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "bench", "sub": format!("8f3c1f7e-user-{number:06}"),
        "scope": "openid profile read write orders:list orders:create", "client_id": "web-frontend",
        "iat": 1_795_392_000_u64, "nbf": 1_795_392_000_u64, "exp": 4_102_444_800_u64,
        "jti": format!("b8f9a6f0-3c1e-4a35-9c9e-{number:012}"), "roles": ["customer", "beta"],
        "tenant": "acme-eu-west",
    })
}

#[test]
fn a_remembered_token_takes_at_most_900_bytes() {
    const TOKENS: usize = 10_000;
    let service = json!({
        "issuer": "https://issuer.example", "keys": {"known": key_set(7)}, "introspection": "disabled",
        "exchange": "disabled",
    });
    let service: TokenService = serde_json::from_value(service).unwrap();
    let name = "default/login".parse().unwrap();
    let authority =
        TokenServiceClient::new(&name, &service, None, None, Arc::new(SystemClock), &Network::Sockets).unwrap();
    let digester = TokenDigester::new(&[3; 64]);
    let tokens: Vec<String> = (0..TOKENS).map(|number| sign(7, "at+jwt", &claims(number))).collect();
    let (bytes, ()) = taken(|| {
        for token in &tokens {
            drop(authority.verify(token, digester.digest(token)).unwrap());
        }
    });
    let held = authority.held_of_signed();
    assert_eq!(held.entries, u64::try_from(TOKENS).unwrap(), "nothing was thrown out");
    let (each, weighed) = (bytes / TOKENS, usize::try_from(held.bytes).unwrap() / TOKENS);
    println!("a remembered token takes {each} bytes, and is weighed {weighed}");
    assert!(each <= 900, "{each} bytes");
    assert!(each <= weighed, "{each} > {weighed}");
}

#[test]
fn a_table_never_takes_more_than_its_bound() {
    const BOUND: u64 = 1 << 20;
    for length in [0, 10, 1000, 20_000] {
        let table: BoundedCache<[u8; 32], Arc<VerifiedCredential>> = BoundedCache::new(BOUND);
        let (bytes, ()) = taken(|| {
            for number in 0..20_000_u64 {
                let claims = json!({"sub": "x".repeat(length), "number": number});
                let mut key = [0; 32];
                key[..8].copy_from_slice(&number.to_le_bytes());
                table.insert(key, Arc::new(VerifiedCredential::of_claims_for_tests(&claims)));
            }
        });
        let held = table.held();
        assert!(held.bytes <= BOUND && held.entries > 0, "{length}: {held:?}");
        assert!(bytes <= usize::try_from(BOUND).unwrap(), "{length}: {bytes} bytes in {held:?}");
        println!("texts of {length}: {} entries weigh {} and take {bytes}", held.entries, held.bytes);
    }
}

#[test]
fn an_entry_that_alone_is_too_large_is_not_kept() {
    let table: BoundedCache<[u8; 32], Arc<VerifiedCredential>> = BoundedCache::new(4096);
    table.insert([1; 32], Arc::new(VerifiedCredential::of_claims_for_tests(&json!({"sub": "small"}))));
    table.insert([2; 32], Arc::new(VerifiedCredential::of_claims_for_tests(&json!({"sub": "x".repeat(100_000)}))));
    assert!(table.get(&[2; 32]).is_none());
    assert!(table.get(&[1; 32]).is_some(), "and throws nothing else out");
}

#[test]
fn derived_objects_give_their_room_back() {
    let credential = VerifiedCredential::of_claims_for_tests(&claims(1));
    let (bytes, ()) = taken(|| drop(credential.claims().object()));
    // Other tests take and give meanwhile, so that only the weight itself can be looked at.
    let weighed = credential.claims().object().heap_bytes();
    assert!((1..weighed + 256).contains(&bytes), "{bytes} taken, weighed {weighed}");
    let (left, ()) = taken(|| ());
    assert_eq!(left, 0);
    let before = MemoryBudget::take(1).map(|room| room.0);
    assert_eq!(before, Some(1));
    assert!(MemoryBudget::take(usize::MAX).is_none() && MemoryBudget::take(BUDGET + 1).is_none());
}
