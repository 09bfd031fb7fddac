//! Why a request was permitted, refused or left undecided: the closed set. The problem document, the decision record,
//! `explain`, the metrics and the table of the docs take code, status, title and words from here.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! reasons {
    ($($variant:ident $code:literal $status:tt $title:literal $words:literal)*) => {
        /// Why a request was permitted, refused or left undecided.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $(#[doc = $words] $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As records, metrics and problem documents spell it.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Status of the answer (RFC 9110 section 15); `None` where the reason is none of a refusal.
            pub const fn status(self) -> Option<u16> {
                match self { $(Self::$variant => reasons!(@status $status),)* }
            }

            /// `title` of the problem document (RFC 9457): all that a caller is told.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What it means, for whoever reads records.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$variant => $words,)* }
            }
        }
    };
    (@status -) => { None };
    (@status $status:literal) => { Some($status) };
}

reasons! {
    AddressNotAllowed "address_not_allowed" 403 "The policy does not allow this request"
        "the client's address is not among those that the policy allows"
    AmbiguousFields "ambiguous_fields" 400 "The request is malformed or ambiguous"
        "applications read a header field of the request in different ways, or Connection names one that a rule looks at"
    AmbiguousFraming "ambiguous_framing" 400 "The request is malformed or ambiguous"
        "HTTP implementations would disagree on where the request ends"
    BrokenCredentials "broken_credentials" 400 "The credentials are malformed"
        "the credentials are malformed, or there is more than one"
    CedarDenied "cedar_denied" 403 "The policy does not allow this request"
        "no Cedar policy permits the request, or one forbids it"
    CedarUndecidable "cedar_undecidable" 403 "The policy does not allow this request"
        "a claim does not have the type that the policy declares, or a Cedar policy failed"
    ClaimNotSatisfied "claim_not_satisfied" 403 "The policy does not allow this request"
        "a claim that the policy requires is missing or has another value"
    ClaimUndecidable "claim_undecidable" 403 "The policy does not allow this request"
        "a claim has another type than the policy expects"
    ClientLeft "client_left" - ""
        "the client left before there was an answer"
    Closed "closed" 503 "The API is closed at the moment"
        "the route was closed by its annotation"
    Conflicted "conflicted" 503 "The API is closed until its policy is corrected"
        "an older ApiRoute has the same host, path and one of the methods"
    CorsNotAllowed "cors_not_allowed" 403 "The API may not be called like this from that origin"
        "a CORS preflight of an origin, or with a header, that the route does not allow"
    CorsNotConfigured "cors_not_configured" 403 "The API may not be called from other origins"
        "a CORS preflight, and the route has no CORS settings"
    CorsOverloaded "cors_overloaded" 503 "Too many preflights at the moment"
        "too many CORS preflights of the route waited for the application"
    CorsPreflight "cors_preflight" - ""
        "a CORS preflight that was answered, by the proxy or by the application"
    CorsUndecidable "cors_undecidable" 403 "The API may not be called from other origins"
        "a CORS preflight, and the rule's Cedar policies or external authorization need a caller"
    DecisionPointDenied "decision_point_denied" 403 "The policy does not allow this request"
        "the external authorization refused the request"
    DecisionPointUnavailable "decision_point_unavailable" 503 "The request cannot be decided at the moment"
        "the external authorization gave no usable answer"
    DecisionTimeout "decision_timeout" 503 "The request was not decided in the time that it has"
        "authentication and authorization took longer than the rule's timeout"
    DecisionUndecidable "decision_undecidable" 403 "The policy does not allow this request"
        "an attribute of the request cannot be sent to the external authorization"
    DryRunOverloaded "dry_run_overloaded" - ""
        "too many dry runs were under way, so nobody knows"
    DryRunTimeout "dry_run_timeout" - ""
        "the dry run took too long, so nobody knows"
    ForbiddenMethod "forbidden_method" 405 "The method is not supported"
        "the proxy never forwards this method"
    HeadTooLarge "head_too_large" 431 "The head of the request is too large"
        "the request has more or larger header fields than the proxy takes"
    IncompleteRequestBody "incomplete_request_body" 400 "The request body is incomplete"
        "the client's body ended early"
    InsufficientScope "insufficient_scope" 403 "The token lacks a scope that this request needs"
        "the token lacks a scope that the rule requires"
    InvalidApiKey "invalid_api_key" 401 "The credentials are not valid here"
        "the API key is not known"
    InvalidCertificate "invalid_certificate" 401 "The credentials are not valid here"
        "the client certificate is not signed by a trusted CA, has expired, or has another name"
    InvalidDigest "invalid_digest" 401 "The credentials are not valid here"
        "the Digest response is wrong, or its nonce is stale"
    InvalidHost "invalid_host" 400 "The request is malformed or ambiguous"
        "the request names no host, several, or one that is no host name"
    InvalidPolicy "invalid_policy" 503 "The API is closed until its policy is corrected"
        "an ApiPolicy that applies to the rule is invalid; kubectl describe it"
    InvalidProof "invalid_proof" 401 "The token is not valid here"
        "the sender did not prove possession of the key that the token is bound to"
    InvalidRoute "invalid_route" 503 "The API is closed until its policy is corrected"
        "the ApiRoute itself is invalid; kubectl describe it"
    InvalidTarget "invalid_target" 400 "The request is malformed or ambiguous"
        "the path or query has no single meaning"
    InvalidToken "invalid_token" 401 "The token is not valid here"
        "the token is expired, not active, not signed by the token service, or otherwise invalid"
    LimitKeyMissing "limit_key_missing" 403 "The policy does not allow this request"
        "the request lacks a part of the key of a rate limit"
    LoopDetected "loop_detected" 508 "The request has come back to the proxy that sent it on"
        "the request came back to the proxy that had forwarded it"
    MalformedRequest "malformed_request" 400 "The request is malformed or ambiguous"
        "the request is not valid HTTP"
    Metadata "metadata" - ""
        "the proxy answered for itself: metadata of a protected resource, or OPTIONS for the server"
    MethodNotAllowed "method_not_allowed" 405 "The method is not allowed here"
        "a rule has the path, but none has the method"
    NoCredentials "no_credentials" 401 "Credentials are needed"
        "the rule needs credentials, and the request has none"
    NoPolicy "no_policy" 503 "The API is closed until its policy is corrected"
        "no ApiPolicy says who may call the rule; attach one to the rule, its route or its namespace"
    NoUpstreamToken "no_upstream_token" 502 "The token service gave no token for the application"
        "the token service returned no JWT for the application"
    NotReady "not_ready" 503 "The proxy has no policy yet"
        "the proxy had not received its policy"
    ObligationUnknown "obligation_unknown" 403 "The policy does not allow this request"
        "the external authorization set a header that is not in upstreamHeaders"
    OutsideHours "outside_hours" 403 "The policy does not allow this request"
        "the policy allows no calls at this time"
    Overloaded "overloaded" 503 "The proxy has too much to do at the moment"
        "the proxy was short of memory or of places for questions to token services"
    Permitted "permitted" - ""
        "authentication and authorization permitted the request"
    ProofsOverloaded "proofs_overloaded" 503 "The proof of possession cannot be checked at the moment"
        "there was no room to remember another proof of possession"
    RateLimited "rate_limited" 429 "Too many requests"
        "a rate limit of the policy is used up"
    RequestNotAllowed "request_not_allowed" 403 "The policy does not allow this request"
        "the method, a path parameter or a header is not what the policy allows"
    RequestUndecidable "request_undecidable" 403 "The policy does not allow this request"
        "a path parameter or claim that the policy compares is missing"
    RouteNotFound "route_not_found" 404 "No API answers here"
        "no ApiRoute has the host and path"
    SlowRequestBody "slow_request_body" 408 "The request body did not come in time"
        "the client did not send its body within the rule's timeout"
    SpikeArrested "spike_arrested" 429 "Too many requests at once"
        "more requests came at once than spikeArrest of the policy lets through"
    TargetTooLong "target_too_long" 414 "The target of the request is too long"
        "the path or the request line is longer than the proxy takes"
    TokenServiceUnavailable "token_service_unavailable" 503 "The token cannot be checked at the moment"
        "the token service could not be asked, or its keys are not known"
    TokenTooLongLived "token_too_long_lived" 401 "The token is not valid here"
        "the token lives longer than maxTokenAge of the rule allows, or does not say how long"
    TooManyAttempts "too_many_attempts" 429 "Too many wrong credentials"
        "too many wrong credentials came from the address or for the user"
    UnresolvedReference "unresolved_reference" 503 "The API is closed until its policy is corrected"
        "something that the ApiPolicy refers to is missing, invalid, or not granted"
    UpgradeNotAllowed "upgrade_not_allowed" 403 "The protocol switch is not allowed here"
        "the rule does not allow the protocol switch"
    UpstreamOverloaded "upstream_overloaded" 503 "The application is at its limit"
        "every connection to the application was in use"
    UpstreamProtocolError "upstream_protocol_error" 502 "The application gave no valid answer"
        "the application's answer was not valid HTTP"
    UpstreamTimeout "upstream_timeout" 504 "The application did not answer in time"
        "the application did not answer within the rule's timeout"
    UpstreamUnreachable "upstream_unreachable" 503 "The application cannot be reached"
        "no connection to the application could be made"
    WrongAudience "wrong_audience" 401 "The token is not valid here"
        "the token was issued for another API: aud has none of the rule's audiences"
    WrongPassword "wrong_password" 401 "The credentials are not valid here"
        "the user is not known, or the password is wrong"
    WrongScheme "wrong_scheme" 421 "The target names another scheme than the connection has"
        "the request target names another scheme than the connection has"
}

impl Reason {
    /// The reason of that code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// The table of `docs/reasons.md`: refusals by status, then the rest.
pub fn table() -> String {
    let mut rows: Vec<_> = Reason::ALL.iter().collect();
    rows.sort_by_key(|reason| (reason.status().unwrap_or(u16::MAX), reason.code()));
    let mut text = String::from("| status | reason | meaning |\n|--:|---|---|\n");
    for reason in rows {
        let status = reason.status().map_or_else(String::new, |status| status.to_string());
        text.push_str(&format!("| {status} | `{reason}` | {} |\n", reason.words()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn codes_are_sorted_distinct_and_can_be_read_back() {
        let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let sorted: BTreeSet<_> = codes.iter().copied().collect();
        assert_eq!(codes, sorted.into_iter().collect::<Vec<_>>());
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.code()), Some(*reason));
            assert_eq!(
                reason.status().is_none(),
                reason.title().is_empty(),
                "{reason}: a refusal has status and title"
            );
            assert!(!reason.words().ends_with('.') && !reason.words().is_empty(), "{reason}");
        }
        assert_eq!(Reason::parse("nonsense"), None);
    }

    #[test]
    fn the_table_of_the_docs_is_that_of_the_code() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
        let text = fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("| status |").unwrap();
        let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
        let fresh = format!("{before}{}\n{after}", table());
        if std::env::var_os("PORTREEVE_GOLDEN").is_some() {
            fs::write(&file, fresh).unwrap();
        } else {
            assert!(text == fresh, "docs/reasons.md is not fresh: run `make golden`");
        }
    }
}
