//! Where metadata stands, and what of it is used. Pure.

use portreeve_compiler::{DiscoveredEndpoints, MtlsAliases};
use portreeve_crds::v1alpha1::Discovery;
use serde::Deserialize;
use url::Url;

/// Why a document is not the metadata of this issuer. Holds nothing of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidMetadata {
    #[error("the metadata is not JSON of RFC 8414")]
    NotMetadata,
    #[error("the metadata names another issuer than spec.issuer; both are compared letter by letter")]
    OtherIssuer,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    introspection_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    #[serde(default)]
    mtls_endpoint_aliases: Aliases,
}

/// RFC 8705 section 5.
#[derive(Default, Deserialize)]
struct Aliases {
    introspection_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// The address of the metadata; `None` where there is none to be read, or where the issuer is no URL.
pub(super) fn metadata_url(issuer: &str, discovery: Discovery) -> Option<String> {
    match discovery {
        Discovery::None => None,
        // OpenID Connect Discovery 1.0 section 4.1: a terminating slash is removed first.
        Discovery::OpenIdConfiguration => {
            Some(format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
        }
        // RFC 8414 section 3.1: between host and path.
        Discovery::OAuthAuthorizationServer => {
            let mut url = Url::parse(issuer).ok()?;
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
            Some(url.into())
        }
    }
}

/// Reads a metadata document of `issuer`.
pub(super) fn parse_metadata(document: &[u8], issuer: &str) -> Result<DiscoveredEndpoints, InvalidMetadata> {
    let document: Document = serde_json::from_slice(document).map_err(|_fault| InvalidMetadata::NotMetadata)?;
    let Document { issuer: named, introspection_endpoint, registration_endpoint, token_endpoint, .. } = document;
    let Aliases { introspection_endpoint: introspection, token_endpoint: token } = document.mtls_endpoint_aliases;
    if named != issuer {
        return Err(InvalidMetadata::OtherIssuer);
    }
    Ok(DiscoveredEndpoints {
        introspection: introspection_endpoint,
        registration: registration_endpoint,
        token: token_endpoint,
        jwks: document.jwks_uri,
        mtls: MtlsAliases { introspection, token },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_metadata_as_each_standard_says() {
        use Discovery::{None, OAuthAuthorizationServer, OpenIdConfiguration};
        for (issuer, discovery, expected) in [
            ("https://a.test", OpenIdConfiguration, Some("https://a.test/.well-known/openid-configuration")),
            ("https://a.test/", OpenIdConfiguration, Some("https://a.test/.well-known/openid-configuration")),
            ("https://a.test/t/1", OpenIdConfiguration, Some("https://a.test/t/1/.well-known/openid-configuration")),
            ("https://a.test", OAuthAuthorizationServer, Some("https://a.test/.well-known/oauth-authorization-server")),
            (
                "https://a.test/t/1",
                OAuthAuthorizationServer,
                Some("https://a.test/.well-known/oauth-authorization-server/t/1"),
            ),
            ("https://a.test", None, Option::None),
        ] {
            assert_eq!(metadata_url(issuer, discovery).as_deref(), expected, "{issuer} {discovery:?}");
        }
    }

    #[test]
    fn takes_only_metadata_of_exactly_this_issuer() {
        let issuer = "https://a.test";
        let parse = |text: &str| parse_metadata(text.as_bytes(), issuer);
        let good = parse(r#"{"issuer":"https://a.test","jwks_uri":"https://a.test/jwks","other":[1]}"#).unwrap();
        assert_eq!(good.jwks.as_deref(), Some("https://a.test/jwks"));
        for (text, fault) in [
            ("", InvalidMetadata::NotMetadata),
            ("<html>", InvalidMetadata::NotMetadata),
            ("[]", InvalidMetadata::NotMetadata),
            (r#"{"jwks_uri":"https://a.test/jwks"}"#, InvalidMetadata::NotMetadata),
            (r#"{"issuer":"https://a.test","jwks_uri":7}"#, InvalidMetadata::NotMetadata),
            (r#"{"issuer":"https://a.test/"}"#, InvalidMetadata::OtherIssuer),
            (r#"{"issuer":"https://A.test"}"#, InvalidMetadata::OtherIssuer),
        ] {
            assert_eq!(parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn reads_the_endpoints_for_clients_with_certificates() {
        let text = r#"{"issuer":"https://a.test","token_endpoint":"https://a.test/t",
            "mtls_endpoint_aliases":{"token_endpoint":"https://m.a.test/t","other":1}}"#;
        let read = parse_metadata(text.as_bytes(), "https://a.test").unwrap();
        let aliases = MtlsAliases { introspection: None, token: Some("https://m.a.test/t".to_owned()) };
        assert_eq!((read.token.as_deref(), read.mtls), (Some("https://a.test/t"), aliases));
        let text = r#"{"issuer":"https://a.test","mtls_endpoint_aliases":"x"}"#;
        assert_eq!(parse_metadata(text.as_bytes(), "https://a.test"), Err(InvalidMetadata::NotMetadata));
    }
}
