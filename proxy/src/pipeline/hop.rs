//! Hop-by-hop hygiene of answers (RFC 9110 section 7.6.1): what concerns the connection to the application stays on it.

use http::{HeaderMap, HeaderName, header::CONNECTION};
use portreeve_policy::FieldClass;

/// Removes what belongs to the connection that an answer came on, and what only the gateway says.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let named = named.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    let concerns = |name: &&HeaderName| FieldClass::of(name.as_str()) == FieldClass::HopByHop;
    let gone: Vec<_> = named.chain(headers.keys().filter(concerns).cloned()).collect();
    for name in gone {
        // The length of the body is the message's own (RFC 9112 section 6), whatever Connection says.
        if name != http::header::CONTENT_LENGTH {
            headers.remove(name);
        }
    }
}

/// Trailers that may become known to the application: integrity of the body, and those of gRPC. All others could stand for
/// fields that framing, routing, authentication or a rule uses (RFC 9110 section 6.5.1, H6).
const REQUEST_TRAILERS: [&str; 7] = [
    "content-digest",
    "content-md5",
    "digest",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "repr-digest",
];

/// Leaves of a request's trailers only those of the list.
pub(super) fn strip_request_trailers(trailers: &mut HeaderMap) {
    retain(trailers, |name| REQUEST_TRAILERS.contains(&name));
}

/// Takes out of an answer's trailers what frames, routes, authenticates or controls (RFC 9110 section 6.5.1).
pub(super) fn strip_answer_trailers(trailers: &mut HeaderMap) {
    retain(trailers, |name| {
        let control = matches!(
            name,
            "age"
                | "authentication-info"
                | "authorization"
                | "cache-control"
                | "date"
                | "expires"
                | "host"
                | "location"
                | "retry-after"
                | "set-cookie"
                | "vary"
                | "via"
                | "warning"
                | "www-authenticate"
        );
        let content = name.starts_with("content-") && !matches!(name, "content-digest" | "content-md5");
        let cors = name.starts_with("access-control-");
        !control && !content && !cors && FieldClass::of(name) == FieldClass::EndToEnd
    });
}

fn retain(headers: &mut HeaderMap, keep: impl Fn(&str) -> bool) {
    let gone: Vec<_> = headers.keys().filter(|name| !keep(name.as_str())).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(names: &[&'static str], strip: fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), "x".parse().unwrap())).collect();
        strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn p6_only_listed_trailers_of_a_request_pass() {
        let names =
            ["authorization", "host", "forwarded", "portreeve-subject", "content-length", "x-sum", "client-cert"];
        assert_eq!(after(&names, strip_request_trailers), Vec::<String>::new());
        assert_eq!(
            after(&["grpc-status", "content-digest"], strip_request_trailers),
            ["content-digest", "grpc-status"]
        );
    }

    #[test]
    fn p6_trailers_of_an_answer_that_control_it_do_not_pass() {
        let names = ["set-cookie", "content-length", "content-type", "transfer-encoding", "location", "x-real-ip"];
        assert_eq!(after(&names, strip_answer_trailers), Vec::<String>::new());
        let names = ["grpc-status", "x-sum", "content-digest", "server-timing"];
        assert_eq!(after(&names, strip_answer_trailers).len(), 4);
    }
}
