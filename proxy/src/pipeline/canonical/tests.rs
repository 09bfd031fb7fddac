use http::Request;

use super::*;

fn parts(target: &str, version: Version, headers: &[(&str, &str)]) -> (Parts, Connection) {
    let mut request = Request::builder().uri(target).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let peer = "192.0.2.7:4711".parse().unwrap();
    let (parts, ()) = request.body(()).unwrap().into_parts();
    (
        parts,
        Connection {
            peer,
            local: "[::ffff:192.0.2.1]:8000".parse().unwrap(),
            scheme: Scheme::Http,
            certificates: None,
            framing: Arc::default(),
            upload: Upload::default(),
            interim: Arc::default(),
        },
    )
}

fn parse(target: &str, version: Version, headers: &[(&str, &str)]) -> Result<String, InvalidRequest> {
    let (mut parts, connection) = parts(target, version, headers);
    let request = CanonicalRequest::parse(&mut parts, &connection)?;
    Ok(format!("{} {}{}", request.authority(), request.path, request.query.map_or(String::new(), |q| format!("?{q}"))))
}

#[test]
fn one_request_has_one_meaning() {
    let host = [("host", "Orders.Example.com:8080")];
    assert_eq!(parse("/a%7eb?x=1", Version::HTTP_11, &host).unwrap(), "orders.example.com:8080 /a~b?x=1");
    let both = [("host", "a.example")];
    assert_eq!(parse("http://A.example/x", Version::HTTP_11, &both).unwrap(), "a.example /x");
    assert_eq!(parse("http://a.example/x", Version::HTTP_2, &[]).unwrap(), "a.example /x");
    assert_eq!(parse("/x", Version::HTTP_11, &[("host", "a.example:")]).unwrap(), "a.example /x", "p19");
    assert_eq!(parse("/x", Version::HTTP_11, &[("host", "[2001:db8::1]:443")]).unwrap(), "[2001:db8::1]:443 /x");
}

#[test]
fn a_client_of_http_1_0_that_names_no_host_means_whom_it_connected_to() {
    assert_eq!(parse("/x", Version::HTTP_10, &[]).unwrap(), "192.0.2.1:8000 /x");
    assert_eq!(parse("/x", Version::HTTP_10, &[("host", "a.example")]).unwrap(), "a.example /x");
    assert_eq!(parse("http://a.example/x", Version::HTTP_10, &[]).unwrap(), "a.example /x");
    assert_eq!(parse("/x", Version::HTTP_10, &[("host", "")]), Err(InvalidRequest::Host));
    assert_eq!(parse("/x", Version::HTTP_11, &[]), Err(InvalidRequest::Host));
}

#[test]
fn refuses_hosts_that_are_missing_repeated_or_malformed_p7() {
    for headers in [
        &[][..],
        &[("host", "")],
        &[("host", "a"), ("host", "a")],
        &[("host", "user@a")],
        &[("host", "a/b")],
        &[("host", "a,b")],
        &[("host", "a:99999")],
        &[("host", "a:8x")],
        &[("host", "[::1")],
    ] {
        assert_eq!(parse("/x", Version::HTTP_11, headers), Err(InvalidRequest::Host), "{headers:?}");
    }
    assert_eq!(parse("http://a/x", Version::HTTP_11, &[]), Err(InvalidRequest::Host));
    assert_eq!(parse("http://a/x", Version::HTTP_11, &[("host", "b")]), Err(InvalidRequest::HostMismatch));
    assert_eq!(parse("http://a/x", Version::HTTP_2, &[("host", "b")]), Err(InvalidRequest::HostMismatch));
}

#[test]
fn refuses_look_alikes_and_bad_targets_p1_h2() {
    let host = ("host", "a");
    assert_eq!(
        parse("/x", Version::HTTP_11, &[host, ("transfer_encoding", "chunked")]),
        Err(InvalidRequest::LookAlike)
    );
    assert_eq!(parse("/x", Version::HTTP_11, &[host, ("content_length", "3")]), Err(InvalidRequest::LookAlike));
    assert!(matches!(parse("/a/../b", Version::HTTP_11, &[host]), Err(InvalidRequest::Path(InvalidPath::DotSegment))));
    assert!(matches!(parse("/a%2fb", Version::HTTP_11, &[host]), Err(InvalidRequest::Path(_))));
    assert!(matches!(parse("*", Version::HTTP_11, &[host]), Err(InvalidRequest::Path(_))));
}
