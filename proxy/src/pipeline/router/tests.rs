use std::collections::BTreeSet;

use portreeve_policy::{HeaderMatch, Method, PathTemplate, Reach};

use super::*;

fn clause(path: &str, methods: &[&str]) -> Match {
    let parse = |text: &str| CanonicalPath::parse(text).unwrap();
    let path = match path.split_once(' ').unwrap() {
        ("exact", path) => PathMatch::Exact(parse(path)),
        ("prefix", path) => PathMatch::Prefix(parse(path)),
        (_, path) => PathMatch::Template(PathTemplate::try_from(path.to_owned()).unwrap()),
    };
    let methods = methods.iter().map(|method| Method::try_from((*method).to_owned()).unwrap()).collect();
    Match { path, methods, headers: BTreeSet::new(), reach: Reach::Claim }
}

fn hosts(hosts: &[&str]) -> Vec<HostnamePattern> {
    hosts.iter().map(|host| HostnamePattern::try_from((*host).to_owned()).unwrap()).collect()
}

fn router(clauses: &[(&[&str], Match, &'static str)]) -> Router<&'static str> {
    let mut router = Router::default();
    for (names, clause, target) in clauses {
        router.insert(hosts(names).iter(), clause, *target);
    }
    router
}

fn route(router: &Router<&'static str>, method: &str, host: &str, path: &str) -> Routed<&'static str> {
    let (host, path) = (Hostname::parse(host).unwrap(), CanonicalPath::parse(path).unwrap());
    router.route(&RouteQuery {
        host: &host,
        path: &path,
        method,
        headers: &HeaderMap::new(),
        withheld: &HeaderMap::new(),
    })
}

#[test]
fn the_more_specific_path_wins() {
    let table = router(&[
        (&[], clause("prefix /", &[]), "root"),
        (&[], clause("prefix /orders", &[]), "orders"),
        (&[], clause("template /orders/{id}", &[]), "one"),
        (&[], clause("exact /orders/new", &[]), "new"),
        (&[], clause("template /orders/{id}/lines", &[]), "lines"),
    ]);
    for (path, target) in [
        ("/", "root"),
        ("/orders", "orders"),
        ("/orders7", "root"),
        ("/orders/7", "one"),
        ("/orders/new", "new"),
        ("/orders/new/lines", "lines"),
        ("/orders/7/lines", "lines"),
        ("/orders/7/other", "orders"),
        ("/orders/", "orders"),
    ] {
        assert_eq!(route(&table, "GET", "a.example", path), Routed::Found(target), "{path}");
    }
}

#[test]
fn methods_fall_through_to_a_broader_rule_or_are_named() {
    let table = router(&[
        (&[], clause("template /orders/{id}", &["GET", "HEAD"]), "read"),
        (&[], clause("prefix /orders", &["POST"]), "write"),
    ]);
    assert_eq!(route(&table, "GET", "a", "/orders/7"), Routed::Found("read"));
    assert_eq!(route(&table, "POST", "a", "/orders/7"), Routed::Found("write"));
    let methods = ["GET", "HEAD", "POST"].map(str::to_owned).to_vec();
    assert_eq!(route(&table, "DELETE", "a", "/orders/7"), Routed::MethodNotAllowed(methods));
    assert_eq!(route(&table, "GET", "a", "/stock"), Routed::NotFound);
}

#[test]
fn the_more_specific_host_wins_p7() {
    let table = router(&[
        (&["orders.example.com"], clause("prefix /", &[]), "exact"),
        (&["*.example.com"], clause("prefix /", &[]), "wildcard"),
        (&["*.eu.example.com"], clause("prefix /", &[]), "longer"),
        (&[], clause("prefix /health", &[]), "any"),
    ]);
    for (host, path, found) in [
        ("orders.example.com", "/", Routed::Found("exact")),
        ("ORDERS.example.com.", "/", Routed::Found("exact")),
        ("stock.example.com", "/", Routed::Found("wildcard")),
        ("a.b.example.com", "/", Routed::Found("wildcard")),
        ("a.eu.example.com", "/", Routed::Found("longer")),
        ("example.com", "/", Routed::NotFound),
        ("evil-example.com", "/", Routed::NotFound),
        ("elsewhere.test", "/health", Routed::Found("any")),
    ] {
        assert_eq!(route(&table, "GET", host, path), found, "{host}{path}");
    }
}

#[test]
fn a_header_match_wants_exactly_one_line_p9() {
    let mut beta = clause("prefix /", &[]);
    beta.headers.insert(HeaderMatch { name: "x-channel".to_owned(), value: "beta".to_owned() });
    let table = router(&[(&[], clause("prefix /", &[]), "plain"), (&[], beta, "beta")]);
    let (host, path) = (Hostname::parse("a").unwrap(), CanonicalPath::parse("/x").unwrap());
    for (lines, target) in [
        (&["beta"][..], "beta"),
        (&[], "plain"),
        (&["beta", "beta"], "plain"),
        (&["beta,beta"], "plain"),
        (&["Beta"], "plain"),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-channel", line.parse().unwrap());
        }
        let wanted =
            RouteQuery { host: &host, path: &path, method: "GET", headers: &headers, withheld: &HeaderMap::new() };
        assert_eq!(table.route(&wanted), Routed::Found(target), "{lines:?}");
    }
}

fn reaching(reach: Reach, clause: Match) -> Match {
    Match { reach, ..clause }
}

#[test]
fn c5_a_barrier_stands_before_everything_but_an_exact_match() {
    let table = router(&[
        (&["a.test"], clause("prefix /", &[]), "site"),
        (&["a.test"], clause("template /orders/{id}", &[]), "template"),
        (&["a.test"], clause("exact /orders/new", &[]), "exact"),
        (&[], clause("prefix /", &[]), "any"),
        (&["a.test"], reaching(Reach::Barrier, clause("prefix /orders", &[])), "closed"),
    ]);
    for (host, path, target) in [
        ("a.test", "/", "site"),
        ("a.test", "/orders", "closed"),
        ("a.test", "/orders/7", "closed"),
        ("a.test", "/orders/new", "exact"),
        ("a.test", "/orders/new/lines", "closed"),
        ("b.test", "/orders/7", "any"),
    ] {
        assert_eq!(route(&table, "GET", host, path), Routed::Found(target), "{host}{path}");
    }
}

#[test]
fn c5_hosts_that_cannot_be_read_close_their_paths_on_every_host() {
    let table = router(&[
        (&["a.test"], clause("prefix /", &[]), "site"),
        (&["a.test"], clause("exact /orders", &[]), "exact"),
        (&["*.test"], clause("exact /orders", &[]), "wildcard"),
        (&[], clause("exact /orders", &[]), "any"),
        (&[], reaching(Reach::BarrierOnAnyHost, clause("prefix /orders", &[])), "closed"),
    ]);
    for (host, path, target) in [
        ("a.test", "/orders", "exact"),
        ("a.test", "/orders/7", "closed"),
        ("b.test", "/orders", "closed"),
        ("b.other", "/orders", "closed"),
        ("a.test", "/stock", "site"),
    ] {
        assert_eq!(route(&table, "GET", host, path), Routed::Found(target), "{host}{path}");
    }
}

#[test]
fn c5_a_remainder_stands_behind_its_equals_and_before_what_is_broader() {
    let table = router(&[
        (&[], reaching(Reach::Remainder, clause("exact /orders", &["GET", "POST"])), "rest"),
        (&[], clause("exact /orders", &["GET"]), "older"),
        (&[], clause("prefix /", &[]), "site"),
    ]);
    for (method, target) in [("GET", "older"), ("POST", "rest"), ("DELETE", "site")] {
        assert_eq!(route(&table, method, "a.test", "/orders"), Routed::Found(target), "{method}");
    }
}

#[test]
fn p8_nothing_in_hosts_and_paths_is_a_pattern() {
    let table = router(&[
        (&["api.example.com"], clause("prefix /", &[]), "api"),
        (&["*.shop.test"], clause("exact /a.b", &[]), "dotted"),
        (&["plain.test"], clause("exact /(x,y)*+$", &[]), "characters"),
        (&["plain.test"], clause("template /o/{id}", &[]), "template"),
    ]);
    for (host, path, found) in [
        ("api.example.com", "/x", Some("api")),
        ("apiXexample.com", "/x", None),
        ("xapi.example.com", "/x", None),
        ("a.shop.test", "/a.b", Some("dotted")),
        ("a.shop.test", "/aXb", None),
        ("axshop.test", "/a.b", None),
        ("shop.test", "/a.b", None),
        ("plain.test", "/(x,y)*+$", Some("characters")),
        ("plain.test", "/x", None),
        ("plain.test", "/o/.x", Some("template")),
        ("plain.test", "/o/a/b", None),
    ] {
        let told = match route(&table, "GET", host, path) {
            Routed::Found(target) => Some(target),
            Routed::MethodNotAllowed(_) | Routed::NotFound => None,
        };
        assert_eq!(told, found, "{host}{path}");
    }
}
