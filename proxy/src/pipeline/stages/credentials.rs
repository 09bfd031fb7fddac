//! Stage: the request as the upstream gets it. Hop-by-hop fields go first, inbound copies of our fields next, ours are
//! set last; the caller's Authorization goes only where the policy sends it (H1 to H5).

use http::{
    HeaderMap, HeaderValue,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, VIA},
};
use portreeve_policy::{ForwardedHeaders, UpstreamToken};

use super::{authenticate::Authenticated, upgrade::Switch};
use crate::pipeline::{CanonicalRequest, ClientSide, forwarded, hop, respond::DECISION_ID};

/// Header fields for the upstream; takes the caller's out of the request.
pub(in crate::pipeline) fn credentials(
    request: &mut CanonicalRequest,
    caller: &Authenticated,
    side: &ClientSide,
    form: ForwardedHeaders,
    switch: Option<Switch>,
    decision_id: &str,
) -> HeaderMap {
    let mut headers = std::mem::take(&mut request.headers);
    hop::strip(&mut headers);
    hop::strip_ours(&mut headers);
    join_cookies(&mut headers);
    match caller.upstream_token {
        Some(UpstreamToken::Original) => {}
        Some(UpstreamToken::Jwt) => {
            headers.remove(AUTHORIZATION);
            let jwt = caller.fact.as_ref().and_then(|fact| fact.upstream_jwt());
            headers.extend(jwt.map(|jwt| (AUTHORIZATION, jwt.clone())));
        }
        Some(UpstreamToken::None) | None => drop(headers.remove(AUTHORIZATION)),
    }
    forwarded::set(&mut headers, side, form);
    for (name, text) in [(HOST, request.authority()), (VIA, via(request))] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(decision_id) {
        headers.insert(DECISION_ID, value);
    }
    if let Some(switch) = switch {
        switch.announce(&mut headers);
        headers.remove(CONTENT_LENGTH);
    }
    headers
}

/// HTTP/2 may split a cookie into crumbs; HTTP/1 knows one line only (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, whole);
    }
}

fn via(request: &CanonicalRequest) -> String {
    let version = match request.version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    format!("{version} portreeve")
}
