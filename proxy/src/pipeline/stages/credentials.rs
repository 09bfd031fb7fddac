//! Stage: the request as the upstream gets it. What is not end-to-end was taken out before anything looked at it; ours are
//! set last; the caller's Authorization goes only where the policy sends it (H1 to H5).

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, Request, Uri,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, TE},
};
use portreeve_policy::{ApiKeyLocation, ForwardedHeaders};

use super::upgrade::Switch;
use crate::{
    authn::{Caller, PeerCertificates, UpstreamCredential, remove_api_key},
    clock::UnixMillis,
    pipeline::{
        CanonicalRequest, Challenge, ClientSide, Denial, InvalidRequest, Pseudonym, RequestBody, TokenFault, forwarded,
        respond::DECISION_ID,
    },
};

/// Header of a DPoP proof, which goes on only beside the token that it is for.
const DPOP: &str = "dpop";

/// The client's certificate for the upstream (RFC 9440 section 2.2).
const CLIENT_CERT: &str = "client-cert";

/// What the upstream learns of the caller.
pub(in crate::pipeline) struct UpstreamRequestContext<'a> {
    pub(in crate::pipeline) caller: &'a Caller,
    /// Where API keys are taken out, whichever alternative decided.
    pub(in crate::pipeline) key_locations: &'a [ApiKeyLocation],
    pub(in crate::pipeline) certificates: Option<&'a PeerCertificates>,
    pub(in crate::pipeline) side: &'a ClientSide,
    pub(in crate::pipeline) now: UnixMillis,
    pub(in crate::pipeline) pseudonym: &'a Pseudonym,
}

/// Header fields for the upstream; takes the caller's out of the request.
pub(in crate::pipeline) fn credentials(
    request: &mut CanonicalRequest,
    told: &UpstreamRequestContext<'_>,
    form: ForwardedHeaders,
    switch: Option<Switch>,
    decision_id: &str,
) -> Result<HeaderMap, Denial> {
    let mut headers = std::mem::take(&mut request.headers);
    join_cookies(&mut headers);
    for location in told.key_locations {
        remove_api_key(location, &mut headers, &mut request.query);
    }
    told.stamp(&mut headers)?;
    forwarded::set(&mut headers, told.side, form);
    if let Ok(value) = HeaderValue::from_str(&request.authority()) {
        headers.insert(HOST, value);
    }
    told.pseudonym.add_to(&mut headers, request.version);
    if let Ok(value) = HeaderValue::from_str(decision_id) {
        headers.insert(DECISION_ID, value);
    }
    if request.aside.takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(switch) = switch {
        switch.announce(&mut headers);
        headers.remove(CONTENT_LENGTH);
    }
    Ok(headers)
}

/// The request as it goes upstream: the canonical one, nothing else.
pub(in crate::pipeline) fn upstream_request(
    request: &CanonicalRequest,
    headers: HeaderMap,
    body: RequestBody,
) -> Result<Request<RequestBody>, Denial> {
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_string(),
    };
    // A canonical path and a checked query always make a target.
    let target = Uri::try_from(target)
        .map_err(|_ignored: http::uri::InvalidUri| Denial::InvalidRequest(InvalidRequest::Query))?;
    let mut upstream = Request::new(body);
    *upstream.method_mut() = request.method.clone();
    *upstream.uri_mut() = target;
    *upstream.headers_mut() = headers;
    Ok(upstream)
}

impl UpstreamRequestContext<'_> {
    /// Sets what speaks of the caller, and nothing that the caller said of himself stays beside it (H5).
    fn stamp(&self, headers: &mut HeaderMap) -> Result<(), Denial> {
        let value = match &self.caller.upstream {
            UpstreamCredential::Passthrough => None,
            UpstreamCredential::Remove => Some(None),
            UpstreamCredential::Set(value) => Some(Some(value.clone())),
            UpstreamCredential::Mint(minter) => {
                let nothing = || Denial::InvalidToken(TokenFault::NoUpstreamJwt, Challenge::default());
                let verified = self.caller.verified.first().ok_or_else(nothing)?;
                Some(Some(minter.token_for(verified.digest, &verified.credential, self.now).ok_or_else(nothing)?))
            }
        };
        if let Some(value) = value {
            headers.remove(AUTHORIZATION);
            headers.remove(DPOP);
            headers.extend(value.map(|value| (AUTHORIZATION, value)));
        }
        if let (true, Some(shown)) = (self.caller.forwards_certificate, self.certificates)
            && let Ok(value) = HeaderValue::try_from(format!(":{}:", STANDARD.encode(shown.own())))
        {
            headers.insert(CLIENT_CERT, value);
        }
        Ok(())
    }
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
