use http::{HeaderValue, Method, Version};
use portreeve_policy::CanonicalPath;
use serde_json::json;

use super::*;

fn side(peer: &str, header: &str, lines: &[(&'static str, &str)]) -> ClientSide {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let request = CanonicalRequest {
        method: Method::GET,
        scheme: Scheme::Http,
        host: Hostname::parse("inside.example.com").unwrap(),
        port: None,
        path: CanonicalPath::parse("/").unwrap(),
        query: None,
        client: format!("{peer}:4711").parse().unwrap(),
        version: Version::HTTP_11,
        headers,
    };
    let trust = json!({"forwarded": {"header": header, "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"]}});
    let trust = if header == "Peer" { json!("peer") } else { trust };
    ClientSide::of(&request, &serde_json::from_value(trust).unwrap())
}

fn address(peer: &str, header: &str, lines: &[(&'static str, &str)]) -> String {
    side(peer, header, lines).address.to_string()
}

#[test]
fn no_hop_is_trusted_unless_the_route_says_so_h4() {
    let lines = [("forwarded", "for=6.6.6.6;proto=https"), ("x-forwarded-for", "6.6.6.6")];
    assert_eq!(address("10.0.0.1", "Peer", &lines), "10.0.0.1");
    assert_eq!(address("11.0.0.1", "Forwarded", &lines), "11.0.0.1");
    assert_eq!(address("11.0.0.1", "XForwardedFor", &lines), "11.0.0.1");
    assert_eq!(address("[::ffff:10.0.0.1]", "Peer", &[]), "10.0.0.1");
}

#[test]
fn forwarded_is_walked_from_the_nearest_hop_h4() {
    for (lines, expected) in [
        (&["for=192.0.2.1"][..], "192.0.2.1"),
        (&["for=6.6.6.6, for=192.0.2.1"], "192.0.2.1"),
        (&["for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
        (&["for=6.6.6.6", "for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
        (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
        (&["FOR=\"192.0.2.1:80\";By=_x;proto=https"], "192.0.2.1"),
        (&["for=\"[2001:DB8:1::1]:443\", for=10.0.0.2"], "2001:db8:1::1"),
        (&["for=\"[::ffff:192.0.2.1]\""], "192.0.2.1"),
        (&["for=\"192.0.2.\\1\""], "192.0.2.1"),
        (&[" for=192.0.2.1\t,\tfor=10.0.0.2 "], "192.0.2.1"),
        // Nothing known from here on: the last hop that is known counts.
        (&["for=6.6.6.6, for=unknown"], "10.0.0.1"),
        (&["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (&["for=6.6.6.6, by=10.0.0.2"], "10.0.0.1"),
        (&[""], "10.0.0.1"),
        // Malformed elements are not guessed at.
        (&["for=6.6.6.6,"], "10.0.0.1"),
        (&["for=[2001:db8::1]"], "10.0.0.1"),
        (&["for=6.6.6.6;for=192.0.2.1"], "10.0.0.1"),
        (&["for=6.6.6.6; proto=http"], "10.0.0.1"),
        (&["for =6.6.6.6"], "10.0.0.1"),
        (&["for=6.6.6.6;host=\"a b\""], "10.0.0.1"),
        (&["for=6.6.6.6;proto=gopher"], "10.0.0.1"),
        (&["for=06.6.6.6"], "10.0.0.1"),
        (&["for=6.6.6.6:80"], "10.0.0.1"),
        (&["for=\"6.6.6.6"], "10.0.0.1"),
        (&["for=\u{f6}"], "10.0.0.1"),
        // What a client put in front changes nothing of what the proxies appended.
        (&["for=\"6.6.6.6, for=192.0.2.1"], "192.0.2.1"),
        (&["\"\\, for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
        (&["for=6.6.6.6;x=\"a,b\", for=192.0.2.1"], "192.0.2.1"),
        (&["for=192.0.2.1;x=\"a,\\\"b\", for=10.0.0.2"], "192.0.2.1"),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        assert_eq!(address("10.0.0.1", "Forwarded", &lines), expected, "{lines:?}");
    }
    assert_eq!(address("10.0.0.1", "Forwarded", &[("x-forwarded-for", "6.6.6.6")]), "10.0.0.1");
}

#[test]
fn x_forwarded_for_is_walked_from_the_nearest_hop_h4() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1"),
        (&["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (&["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (&["192.0.2.1:80"], "192.0.2.1"),
        (&["[2001:db9::1]:80"], "2001:db9::1"),
        (&["::ffff:192.0.2.1"], "192.0.2.1"),
        (&["6.6.6.6, unknown"], "10.0.0.1"),
        (&["6.6.6.6, , 10.0.0.2"], "10.0.0.2"),
        (&["6.6.6.6, 192.0.2.1:"], "10.0.0.1"),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(address("10.0.0.1", "XForwardedFor", &lines), expected, "{lines:?}");
    }
    assert_eq!(address("10.0.0.1", "XForwardedFor", &[("forwarded", "for=6.6.6.6")]), "10.0.0.1");
}

#[test]
fn scheme_and_host_are_those_that_the_client_used() {
    let told = |lines: &[(&'static str, &str)]| {
        let side = side("10.0.0.1", "Forwarded", lines);
        (side.scheme, side.authority())
    };
    let inside = || "inside.example.com".to_owned();
    assert_eq!(told(&[]), (Scheme::Http, inside()));
    let chain = "for=192.0.2.1;host=\"API.example.com:8443\";proto=https, for=10.0.0.2;proto=http";
    assert_eq!(told(&[("forwarded", chain)]), (Scheme::Https, "api.example.com:8443".to_owned()));
    let forged = "for=6.6.6.6;host=evil.example.com;proto=https, for=192.0.2.1";
    assert_eq!(told(&[("forwarded", forged)]), (Scheme::Http, inside()));
    let older = |lines: &[(&'static str, &str)]| {
        let side = side("10.0.0.1", "XForwardedFor", lines);
        (side.scheme, side.authority())
    };
    let pair = [("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example.com")];
    assert_eq!(older(&pair), (Scheme::Https, "api.example.com".to_owned()));
    let lists = [("x-forwarded-proto", "https, http"), ("x-forwarded-host", "a, b")];
    assert_eq!(older(&lists), (Scheme::Http, inside()));
}
