//! What header fields of a request mean to a gateway. Compiler and proxy both ask this file, so that what a rule may look
//! at and what is taken out of a request are one list; docs/life-of-a-request.md publishes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a field of a request is to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldClass {
    /// Goes from the client to the application, unless a policy says otherwise.
    EndToEnd,
    /// Concerns one connection only (RFC 9110 section 7.6.1).
    HopByHop,
    /// Only the gateway sets it, and applications may rely on that; never taken from a client.
    Own,
    /// Applications and frameworks take method, target, client or user from it. Taken out, unless the route lets it pass.
    Override,
}

/// A field that a route lets pass although it would be taken out: an [`FieldClass::Override`], or a name with `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PassedField(Box<str>);

/// A name that cannot be let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassedField {
    /// Every request's field of this name passes already.
    #[error("the field passes without being named")]
    EndToEnd,
    /// Letters, digits, `-` and `_`, at most 128 of them.
    #[error("not a field name: letters, digits, '-' and '_'")]
    Malformed,
    /// It belongs to the connection or to the gateway, under this or its other spelling.
    #[error("the field belongs to the connection or to the gateway and is never taken from a client")]
    Reserved,
}

/// What nearly every request has, all of it end-to-end: known before the lists are looked through.
const COMMON: [&str; 14] = [
    "host",
    "user-agent",
    "accept",
    "authorization",
    "content-type",
    "content-length",
    "accept-encoding",
    "accept-language",
    "cookie",
    "origin",
    "referer",
    "cache-control",
    "traceparent",
    "x-request-id",
];

/// Names of [`FieldClass::HopByHop`].
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Names of [`FieldClass::Own`], beside every name that begins with [`OWN_PREFIX`].
const OWN: [&str; 8] = [
    "client-cert",
    "client-cert-chain",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

/// Prefix of every header of our own.
const OWN_PREFIX: &str = "portreeve-";

/// Names of [`FieldClass::Override`] without `x-`, in order.
pub const OVERRIDES: &[&str] = &[
    "ali-cdn-real-ip",
    "authenticated-user",
    "cdn-real-ip",
    "cf-access-authenticated-user-email",
    "cf-access-jwt-assertion",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "cloudfront-forwarded-proto",
    "cloudfront-viewer-address",
    "cluster-client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fastly-ssl",
    "fly-client-ip",
    "forwarded-for",
    "forwarded-host",
    "forwarded-proto",
    "front-end-https",
    "http-method-override",
    "iv-creds",
    "iv-groups",
    "iv-user",
    "method-override",
    "oam-remote-user",
    "proxy",
    "script-name",
    "sm-user",
    "sm-userdn",
    "true-client-ip",
];

/// Prefixes of [`FieldClass::Override`] without `x-`.
pub const OVERRIDE_PREFIXES: &[&str] =
    &["impersonate-", "oidc-", "proxy-", "remote-", "shib-", "ssl-", "tls-client-", "wl-proxy-"];

/// Names of [`FieldClass::Override`] that begin with `x-`, without it, in order.
pub const X_OVERRIDES: &[&str] = &[
    "accel-mapping",
    "anonymous-consumer",
    "arr-clientcert",
    "arr-ssl",
    "auth-email",
    "auth-groups",
    "auth-roles",
    "auth-subject",
    "auth-user",
    "auth-username",
    "azure-clientip",
    "azure-socketip",
    "client-cert",
    "client-certificate",
    "client-dn",
    "client-ip",
    "client-verify",
    "cluster-client-ip",
    "coming-from",
    "custom-ip-authorization",
    "forwarded",
    "host",
    "host-override",
    "http-destinationurl",
    "http-host-override",
    "http-method",
    "http-method-override",
    "http-verb-override",
    "https",
    "id-token",
    "matched-path",
    "method",
    "method-override",
    "now-route-matches",
    "originating-ip",
    "override-url",
    "proto",
    "proxyuser-ip",
    "request-uri",
    "scheme",
    "script-name",
    "sendfile-type",
    "sso-user",
    "url-scheme",
    "userinfo",
    "waws-unencoded-url",
];

/// Prefixes of [`FieldClass::Override`] that begin with `x-`, without it.
pub const X_OVERRIDE_PREFIXES: &[&str] = &[
    "amzn-mtls-",
    "amzn-oidc-",
    "appengine-",
    "auth-request-",
    "authenticated-",
    "authentik-",
    "consumer-",
    "credential-",
    "envoy-",
    "forwarded-",
    "goog-authenticated-user-",
    "goog-iap-",
    "middleware-",
    "ms-client-principal",
    "ms-token-",
    "mtls-",
    "original-",
    "pomerium-",
    "proxy-",
    "real-",
    "remote-",
    "rewrite-",
    "ssl-",
    "tls-client-",
    "vouch-",
    "webauth-",
];

impl FieldClass {
    /// The class of a field; `name` is in lower case. A name with `_` is of the class that it has with `-`, for that is
    /// how many applications read it (bug class H2).
    pub fn of(name: &str) -> Self {
        if COMMON.contains(&name) {
            return Self::EndToEnd;
        }
        if name.contains('_') { Self::of_dashed(&name.replace('_', "-")) } else { Self::of_dashed(name) }
    }

    /// Whether a field is end-to-end, and no application reads its name as another one.
    pub fn is_plain(name: &str) -> bool {
        COMMON.contains(&name) || (!name.contains('_') && Self::of_dashed(name) == Self::EndToEnd)
    }

    fn of_dashed(name: &str) -> Self {
        if name.starts_with(OWN_PREFIX) || OWN.contains(&name) {
            return Self::Own;
        }
        if HOP_BY_HOP.contains(&name) {
            return Self::HopByHop;
        }
        let (name, exact, prefixes) = match name.strip_prefix("x-") {
            Some(rest) => (rest, X_OVERRIDES, X_OVERRIDE_PREFIXES),
            None => (name, OVERRIDES, OVERRIDE_PREFIXES),
        };
        let listed = prefixes.iter().any(|prefix| name.starts_with(prefix)) || exact.binary_search(&name).is_ok();
        if listed { Self::Override } else { Self::EndToEnd }
    }
}

impl PassedField {
    /// In lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PassedField {
    type Error = InvalidPassedField;

    fn try_from(text: String) -> Result<Self, InvalidPassedField> {
        let name = text.to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=128).contains(&name.len()) || !name.bytes().all(legal) {
            return Err(InvalidPassedField::Malformed);
        }
        match (FieldClass::of(&name), name.contains('_')) {
            (FieldClass::EndToEnd, false) => Err(InvalidPassedField::EndToEnd),
            (FieldClass::HopByHop | FieldClass::Own, _) => Err(InvalidPassedField::Reserved),
            (FieldClass::EndToEnd, true) if is_standard(&name.replace('_', "-")) => Err(InvalidPassedField::Reserved),
            (FieldClass::EndToEnd, true) | (FieldClass::Override, _) => Ok(Self(name.into())),
        }
    }
}

/// Fields whose other spelling nobody may bring: framing, credentials and what routes a request.
fn is_standard(dashed: &str) -> bool {
    dashed.starts_with("content-") || matches!(dashed, "authorization" | "cookie" | "dpop" | "host" | "via" | "expect")
}

impl From<PassedField> for String {
    fn from(field: PassedField) -> Self {
        field.0.into()
    }
}

impl fmt::Display for PassedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m8_fields_by_which_applications_take_method_target_client_or_user_are_known() {
        for list in [OVERRIDES, X_OVERRIDES] {
            assert!(list.is_sorted(), "binary search needs order");
        }
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-original-url",
            "x-original-uri",
            "x-rewrite-url",
            "x-forwarded-client-cert",
            "x-forwarded-tls-client-cert",
            "x-forwarded-user",
            "x-forwarded-ssl",
            "x-forwarded-scheme",
            "x-ssl-client-cert",
            "ssl-client-cert",
            "x-real-ip",
            "x-client-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-remote-user",
            "remote-user",
            "x-webauth-user",
            "x-auth-request-email",
            "x-middleware-subrequest",
            "proxy",
            "x_http_method_override",
        ] {
            assert_eq!(FieldClass::of(name), FieldClass::Override, "{name}");
        }
        for name in ["forwarded", "x-forwarded-for", "x_forwarded_for", "portreeve-subject", "portreeve_subject"] {
            assert_eq!(FieldClass::of(name), FieldClass::Own, "{name}");
        }
        for name in ["connection", "te", "keep-alive", "upgrade", "transfer_encoding"] {
            assert_eq!(FieldClass::of(name), FieldClass::HopByHop, "{name}");
        }
        for name in [
            "host",
            "authorization",
            "x-request-id",
            "x-api-key",
            "x-requested-with",
            "x-csrf-token",
            "traceparent",
            "x-b3-traceid",
            "x-amzn-trace-id",
            "x-auth-token",
            "x-client-version",
            "x-tenant",
        ] {
            assert_eq!(FieldClass::of(name), FieldClass::EndToEnd, "{name}");
        }
        for name in COMMON {
            assert_eq!(FieldClass::of_dashed(name), FieldClass::EndToEnd, "{name}");
        }
        assert!(FieldClass::is_plain("x-tenant") && FieldClass::is_plain("host"));
        assert!(!["x_tenant", "te", "x-real-ip", "forwarded"].into_iter().any(FieldClass::is_plain));
    }

    #[test]
    fn m8_only_what_would_be_taken_out_can_be_let_through() {
        for (name, verdict) in [
            ("X-HTTP-Method-Override", Ok("x-http-method-override")),
            ("x_legacy", Ok("x_legacy")),
            ("X-Tenant", Err(InvalidPassedField::EndToEnd)),
            ("X-Forwarded-For", Err(InvalidPassedField::Reserved)),
            ("x_forwarded_for", Err(InvalidPassedField::Reserved)),
            ("portreeve_subject", Err(InvalidPassedField::Reserved)),
            ("Connection", Err(InvalidPassedField::Reserved)),
            ("transfer_encoding", Err(InvalidPassedField::Reserved)),
            ("content_length", Err(InvalidPassedField::Reserved)),
            ("authorization_", Ok("authorization_")),
            ("a b", Err(InvalidPassedField::Malformed)),
            ("", Err(InvalidPassedField::Malformed)),
        ] {
            let parsed = PassedField::try_from(name.to_owned());
            assert_eq!(parsed.as_ref().map(PassedField::as_str).map_err(|fault| *fault), verdict, "{name}");
        }
    }

    /// The list is published, name by name.
    #[test]
    fn m8_the_documented_list_is_the_one_in_force() {
        let text = include_str!("../../docs/life-of-a-request.md");
        let with = |prefix: &str, name: &&str, more: &str| format!("`{prefix}{name}{more}`");
        let all = OVERRIDES.iter().map(|name| with("", name, ""));
        let all = all.chain(OVERRIDE_PREFIXES.iter().map(|name| with("", name, "*")));
        let all = all.chain(X_OVERRIDES.iter().map(|name| with("x-", name, "")));
        for name in all.chain(X_OVERRIDE_PREFIXES.iter().map(|name| with("x-", name, "*"))) {
            assert!(text.contains(&name), "docs/life-of-a-request.md lacks {name}");
        }
    }
}
