use http::HeaderMap;
use portreeve_policy::CanonicalPath;
use serde_json::json;

use super::*;
use crate::{authn::VerifiedCredential, authz::PathParameters};

const NOW: UnixMillis = UnixMillis(1_000_000_000);

fn limits(rate_limits: &Value) -> Limits {
    let rules = json!({"limited": {"policy": "shop/p", "spikeArrest": "none", "rateLimits": rate_limits}});
    serde_json::from_value(rules).unwrap()
}

fn limit(name: &str, key: &Value, absent: &str, requests: u64, per: &str) -> Value {
    json!({"name": name, "key": key, "absentKey": absent, "rates": [{"requests": requests, "per": per, "burst": requests}]})
}

fn limiter(rate_limits: &Value) -> Limiter {
    Limiter::new(&limits(rate_limits), &LimitTables::default(), &mut LimitTables::default())
}

fn path() -> CanonicalPath {
    CanonicalPath::parse("/a").unwrap()
}

struct Asked {
    caller: Option<VerifiedCredential>,
    headers: HeaderMap,
    address: &'static str,
}

impl Asked {
    fn by(claims: &Value) -> Self {
        Self { caller: Some(VerifiedCredential::of_claims_for_tests(claims)), ..Self::nobody() }
    }

    fn nobody() -> Self {
        Self { caller: None, headers: HeaderMap::new(), address: "192.0.2.1" }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    fn asks(&self, limiter: &Limiter) -> Result<LimitHeaders, LimitRefusal> {
        let path = path();
        limiter.admit(&AuthorizationInput {
            caller: self.caller.as_ref(),
            address: self.address.parse().ok(),
            tls: None,
            method: "GET",
            host: None,
            path: "/a",
            parameters: PathParameters::new(&path, None),
            headers: &self.headers,
            now: NOW,
        })
    }

    /// How many of 10 pass.
    fn passes(&self, limiter: &Limiter) -> usize {
        (0..10).filter(|_| self.asks(limiter).is_ok()).count()
    }
}

#[test]
fn each_kind_of_key_is_counted_apart_and_only_by_what_it_names() {
    let (one, two) =
        (json!({"sub": "ann", "client_id": "app", "t": "x"}), json!({"sub": "bob", "client_id": "app", "t": 1}));
    for (key, apart) in [
        (json!(["application"]), false),
        (json!(["subject"]), true),
        (json!([{"claim": "$.t"}]), true),
        (json!(["everyone"]), false),
        (json!(["clientAddress"]), false),
        (json!(["application", "subject"]), true),
    ] {
        let limiter = limiter(&json!([limit("n", &key, "refuse", 3, "hour")]));
        assert_eq!(Asked::by(&one).passes(&limiter), 3, "{key}");
        assert_eq!(Asked::by(&two).passes(&limiter), if apart { 3 } else { 0 }, "{key}");
    }
}

#[test]
fn what_lacks_the_key_is_refused_or_counted_together_and_never_goes_free() {
    for key in [
        json!(["application"]),
        json!(["subject"]),
        json!([{"claim": "$.t"}]),
        json!([{"header": "x-t"}]),
        json!([{"pathParameter": "id"}]),
    ] {
        let refuse = limiter(&json!([limit("n", &key, "refuse", 3, "hour")]));
        assert_eq!(Asked::nobody().asks(&refuse), Err(LimitRefusal::KeyMissing("n".to_owned())), "{key}");
        let share = limiter(&json!([limit("n", &key, "share", 3, "hour")]));
        assert_eq!(Asked::nobody().passes(&share), 3, "{key}");
        assert_eq!(Asked { address: "192.0.2.9", ..Asked::nobody() }.passes(&share), 0, "{key}");
    }
    let claim = limiter(&json!([limit("n", &json!([{"claim": "$.t"}]), "refuse", 3, "hour")]));
    for value in [json!(null), json!(["a"]), json!({"a": 1})] {
        assert!(Asked::by(&json!({"sub": "ann", "t": value})).asks(&claim).is_err(), "{value}");
    }
    let header = limiter(&json!([limit("n", &json!([{"header": "x-t"}]), "refuse", 3, "hour")]));
    assert!(Asked::nobody().with("x-t", "a").asks(&header).is_ok());
    assert!(Asked::nobody().with("x-t", "a").with("x-t", "b").asks(&header).is_err(), "two lines are no key");
}

#[test]
fn a_text_and_a_number_and_neighbouring_parts_are_different_keys() {
    let claim = limiter(&json!([limit("n", &json!([{"claim": "$.t"}]), "refuse", 1, "hour")]));
    for value in [json!("1"), json!(1), json!("true"), json!(true)] {
        assert_eq!(Asked::by(&json!({"sub": "ann", "t": value})).passes(&claim), 1, "{value}");
    }
    let both = limiter(&json!([limit("n", &json!([{"header": "x-a"}, {"header": "x-b"}]), "refuse", 1, "hour")]));
    assert_eq!(Asked::nobody().with("x-a", "ab").with("x-b", "c").passes(&both), 1);
    assert_eq!(Asked::nobody().with("x-a", "a").with("x-b", "bc").passes(&both), 1);
}

#[test]
fn what_a_later_limit_refuses_is_not_counted_by_an_earlier_one() {
    let address = json!(["clientAddress"]);
    let limiter = limiter(&json!([
        limit("address", &address, "refuse", 5, "hour"),
        limit("tenant", &json!([{"header": "x-t"}]), "refuse", 2, "hour"),
    ]));
    assert_eq!(Asked::nobody().with("x-t", "a").passes(&limiter), 2);
    assert_eq!(Asked::nobody().with("x-t", "b").passes(&limiter), 2);
    assert_eq!(Asked::nobody().with("x-t", "c").passes(&limiter), 1, "five for the address");
}

#[test]
fn callers_are_told_what_is_left_for_them_and_nothing_of_others() {
    let mine = limit("mine", &json!(["application"]), "refuse", 3, "second");
    let all = limit("all", &json!(["everyone"]), "refuse", 100, "hour");
    let told = |headers: &LimitHeaders| {
        let mut map = HeaderMap::new();
        map.insert("ratelimit", HeaderValue::from_static("of the application"));
        headers.set(&mut map);
        ["ratelimit-policy", "ratelimit"].map(|name| map.get(name).map(|value| value.to_str().unwrap().to_owned()))
    };
    let limiter_of_both = limiter(&json!([mine, all]));
    let asked = Asked::by(&json!({"sub": "ann", "client_id": "app"}));
    let headers = asked.asks(&limiter_of_both).unwrap();
    assert_eq!(told(&headers), [Some("\"mine\";q=3;w=1".to_owned()), Some("\"mine\";r=2;t=1".to_owned())]);
    let Err(LimitRefusal::Limited(limited)) =
        (0..10).map(|_| asked.asks(&limiter_of_both)).find(Result::is_err).unwrap()
    else {
        panic!()
    };
    assert_eq!((limited.limit.as_str(), limited.retry_after), ("mine", 1));
    assert_eq!(told(&limited.headers)[1].as_deref(), Some("\"mine\";r=0;t=1"));
    let silent = Asked::nobody().asks(&limiter(&json!([all]))).unwrap();
    assert_eq!(told(&silent), [None, Some("of the application".to_owned())]);
    let mut several = limit("n", &json!(["clientAddress"]), "refuse", 3, "second");
    several["rates"].as_array_mut().unwrap().push(json!({"requests": 9, "per": "day", "burst": 9}));
    let headers = Asked::nobody().asks(&limiter(&json!([several]))).unwrap();
    assert_eq!(told(&headers)[0].as_deref(), Some("\"n-second\";q=3;w=1, \"n-day\";q=9;w=86400"));
}

#[test]
fn counts_outlive_new_numbers_and_end_with_the_key() {
    let build = |rate_limits: &Value, previous: &LimitTables| {
        let mut tables = LimitTables::default();
        (Limiter::new(&limits(rate_limits), previous, &mut tables), tables)
    };
    let address = json!(["clientAddress"]);
    let (first, tables) = build(&json!([limit("n", &address, "refuse", 3, "hour")]), &LimitTables::default());
    assert_eq!(Asked::nobody().passes(&first), 3);
    let (second, tables) = build(&json!([limit("n", &address, "refuse", 6, "hour")]), &tables);
    assert_eq!(Asked::nobody().passes(&second), 0, "an hour's worth is used");
    let (other, _) = build(&json!([limit("n", &json!(["everyone"]), "refuse", 3, "hour")]), &tables);
    assert_eq!(Asked::nobody().passes(&other), 3);
}

#[test]
fn a_spike_is_evened_out_for_each_address_or_for_all() {
    let of = |spike: &str| {
        let rate = json!({"requests": 10, "per": "second", "burst": 2});
        let rules = json!({"limited": {"policy": "shop/p", "spikeArrest": {spike: rate}, "rateLimits": []}});
        Limiter::new(&serde_json::from_value(rules).unwrap(), &LimitTables::default(), &mut LimitTables::default())
    };
    let (one, two) = (Peer::of([192, 0, 2, 1].into()), Peer::of([192, 0, 2, 2].into()));
    let each = of("perClientAddress");
    let pass = |limiter: &Limiter, peer| (0..5).filter(|_| limiter.arrest_spike(peer, NOW).is_ok()).count();
    assert_eq!([pass(&each, Some(one)), pass(&each, Some(two)), pass(&each, None)], [2, 2, 2]);
    assert_eq!(each.arrest_spike(Some(one), UnixMillis(NOW.0 + 99)), Err(1));
    assert_eq!(each.arrest_spike(Some(one), UnixMillis(NOW.0 + 100)), Ok(()));
    let all = of("together");
    assert_eq!([pass(&all, Some(one)), pass(&all, Some(two)), pass(&all, None)], [2, 0, 0]);
}
