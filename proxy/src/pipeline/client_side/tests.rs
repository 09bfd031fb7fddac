use http::{HeaderValue, Method, Version};
use portreeve_policy::CanonicalPath;
use serde_json::json;

use super::*;
use crate::pipeline::fields::SetAside;

fn side(peer: &str, header: &str, lines: &[(&'static str, &str)], more: &[&str]) -> ClientSide {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let aside = SetAside::take_from(&mut headers, Version::HTTP_11).unwrap();
    let request = CanonicalRequest {
        claimed: None,
        method: Method::GET,
        scheme: Scheme::Http,
        host: Hostname::parse("inside.example.com").unwrap(),
        port: None,
        path: CanonicalPath::parse("/").unwrap(),
        query: None,
        client: format!("{peer}:4711").parse().unwrap(),
        version: Version::HTTP_11,
        headers,
        aside,
    };
    let trust = json!({"forwarded": {"header": header, "additionalHeaders": more, "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"]}});
    let trust = if header == "Peer" { json!("peer") } else { trust };
    ClientSide::of(&request, &serde_json::from_value(trust).unwrap())
}

fn address(peer: &str, header: &str, lines: &[(&'static str, &str)]) -> String {
    let address = side(peer, header, lines, &[]).address;
    address.map_or_else(|| "unknown".to_owned(), |address| address.to_string())
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
        // Empty elements are left out (19).
        (&["for=203.0.113.5, , for=10.0.0.1"], "203.0.113.5"),
        (&["for=192.0.2.7,", ",", "\t,"], "192.0.2.7"),
        // Hidden, or nothing said: nobody knows, and the proxy is not the client.
        (&["for=6.6.6.6, for=unknown"], "unknown"),
        (&["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "unknown"),
        (&["for=6.6.6.6, by=10.0.0.2"], "unknown"),
        (&[""], "unknown"),
        (&[" , ,"], "unknown"),
        // Malformed elements are not guessed at.
        (&["for=[2001:db8::1]"], "unknown"),
        (&["for=6.6.6.6;for=192.0.2.1"], "unknown"),
        (&["for=6.6.6.6; proto=http"], "unknown"),
        (&["for =6.6.6.6"], "unknown"),
        (&["for=6.6.6.6;host=\"a b\""], "unknown"),
        (&["for=6.6.6.6;proto=gopher"], "unknown"),
        (&["for=06.6.6.6"], "unknown"),
        (&["for=6.6.6.6:80"], "unknown"),
        (&["for=\"6.6.6.6"], "unknown"),
        (&["for=\u{f6}"], "unknown"),
        (&["for=192.0.2.1, \u{f6}, for=10.0.0.2"], "unknown"),
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
    let long = ["for=10.0.0.2"; MAX_HOPS + 1].join(",");
    assert_eq!(address("10.0.0.1", "Forwarded", &[("forwarded", &long)]), "unknown");
    let empty = format!("for=192.0.2.1{}", ",".repeat(MAX_EMPTY + 2));
    assert_eq!(address("10.0.0.1", "Forwarded", &[("forwarded", &empty)]), "unknown");
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
        (&["[2001:db9::7]"], "2001:db9::7"),
        (&["192.0.2.7,"], "192.0.2.7"),
        (&["192.0.2.7, , 10.0.0.2"], "192.0.2.7"),
        (&["6.6.6.6, unknown"], "unknown"),
        (&["6.6.6.6, 192.0.2.1:"], "unknown"),
        (&["6.6.6.6, [192.0.2.1]"], "unknown"),
        (&[""], "unknown"),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(address("10.0.0.1", "XForwardedFor", &lines), expected, "{lines:?}");
    }
    assert_eq!(address("10.0.0.1", "XForwardedFor", &[("forwarded", "for=6.6.6.6")]), "10.0.0.1");
}

#[test]
fn scheme_and_host_are_those_that_the_client_used() {
    let told = |lines: &[(&'static str, &str)]| {
        let side = side("10.0.0.1", "Forwarded", lines, &[]);
        (side.scheme, side.authority())
    };
    let inside = || Some("inside.example.com".to_owned());
    assert_eq!(told(&[]), (Some(Scheme::Http), inside()));
    let chain = "for=192.0.2.1;host=\"API.example.com:8443\";proto=https, for=10.0.0.2;proto=http";
    assert_eq!(told(&[("forwarded", chain)]), (Some(Scheme::Https), Some("api.example.com:8443".to_owned())));
    let forged = "for=6.6.6.6;host=evil.example.com;proto=https, for=192.0.2.1";
    assert_eq!(told(&[("forwarded", forged)]), (Some(Scheme::Http), inside()));
    assert_eq!(told(&[("forwarded", "rubbish")]), (None, None));
    assert_eq!(told(&[("x-forwarded-proto", "https")]), (Some(Scheme::Http), inside()));
}

/// `X-Forwarded-For` speaks of the address; what stands beside it counts where the route names it, and only there.
#[test]
fn m1_each_field_of_a_trusted_proxy_is_believed_only_where_it_is_named() {
    let told = |named: &[&str], lines: &[(&'static str, &str)]| {
        let side = side("10.0.0.1", "XForwardedFor", lines, named);
        (side.scheme, side.authority())
    };
    let inside = || Some("inside.example.com".to_owned());
    let api = || Some("api.example.com".to_owned());
    let pair =
        [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "api.example.com")];
    assert_eq!(told(&[], &pair), (Some(Scheme::Http), inside()));
    assert_eq!(told(&["XForwardedProto"], &pair), (Some(Scheme::Https), inside()));
    assert_eq!(told(&["XForwardedHost"], &pair), (Some(Scheme::Http), api()));
    let both = ["XForwardedProto", "XForwardedHost"];
    assert_eq!(told(&both, &pair), (Some(Scheme::Https), api()));
    assert_eq!(told(&both, &[]), (Some(Scheme::Http), inside()), "not there: the connection's own side");
    for (proto, host) in [("https, http", "a, b"), ("", ""), ("gopher", "a b"), ("\u{f6}", "\u{f6}")] {
        assert_eq!(told(&both, &[("x-forwarded-proto", proto), ("x-forwarded-host", host)]), (None, None), "{proto}");
    }
    let twice = [("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")];
    assert_eq!(told(&both, &twice), (None, inside()));
}
