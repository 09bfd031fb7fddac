//! Hop-by-hop hygiene (RFC 9110 section 7.6.1): what concerns one connection stays on it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

/// Fields that upstreams rely on and that only we may set, in the form with dashes. Inbound copies are removed under
/// every spelling (H1, H2, RFC 9700 section 4.13).
const OURS: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-prefix",
    "x-real-ip",
    "client-cert",
    "client-cert-chain",
];

/// Prefix of every header of our own.
const OWN_PREFIX: &str = "portreeve-";

/// Fields of one connection that need not be named in `Connection`.
fn of_one_connection(name: &HeaderName) -> bool {
    [CONNECTION, UPGRADE, TE, TRANSFER_ENCODING, TRAILER, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// End-to-end fields that `Connection` cannot take away.
fn cannot_be_named(name: &str) -> bool {
    matches!(name, "host" | "authorization" | "content-length" | "content-type" | "cookie" | "cache-control")
}

/// Removes what belongs to the connection that a message came on. `TE: trailers` survives, for gRPC needs it.
pub(super) fn strip(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|line| line.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let mut named: Vec<HeaderName> = Vec::new();
    for line in headers.get_all(CONNECTION) {
        for name in line.to_str().unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let parsed = HeaderName::try_from(name.to_ascii_lowercase()).ok();
            named.extend(parsed.filter(|name| !cannot_be_named(name.as_str())));
        }
    }
    for name in named {
        headers.remove(name);
    }
    let gone: Vec<_> = headers.keys().filter(|name| of_one_connection(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes inbound copies of fields that only we may set.
pub(super) fn strip_ours(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| {
        let text = name.as_str();
        if text.contains('_') {
            let dashed = text.replace('_', "-");
            return is_ours(&dashed) || dashed == "authorization";
        }
        is_ours(text)
    };
    let gone: Vec<_> = headers.keys().filter(ours).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

fn is_ours(dashed: &str) -> bool {
    OURS.contains(&dashed) || dashed.starts_with(OWN_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[(&str, &str)], strip: impl Fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        strip(&mut headers);
        let mut names: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        names.sort();
        names
    }

    #[test]
    fn what_connection_names_goes_but_never_end_to_end_fields_h1() {
        let lines = [
            ("connection", "close, X-Private, authorization, HOST"),
            ("x-private", "1"),
            ("authorization", "Bearer a"),
            ("host", "a"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("x-kept", "1"),
        ];
        assert_eq!(after(&lines, strip), ["authorization: Bearer a", "host: a", "te: trailers", "x-kept: 1"]);
    }

    #[test]
    fn inbound_copies_of_our_fields_go_under_every_spelling_h2() {
        let lines = [
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("X-Forwarded_Proto", "https"),
            ("portreeve-decision-id", "x"),
            ("portreeve_subject", "root"),
            ("client-cert", ":AAA=:"),
            ("x_authorization", "kept"),
        ];
        assert_eq!(after(&lines, strip_ours), ["x_authorization: kept"]);
    }
}
