//! Where metadata stands, and what of it is used. Pure.

use portreeve_compiler::DiscoveredEndpoints;
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
    let Document { issuer: named, introspection_endpoint, registration_endpoint, token_endpoint, jwks_uri } = document;
    if named != issuer {
        return Err(InvalidMetadata::OtherIssuer);
    }
    Ok(DiscoveredEndpoints {
        introspection: introspection_endpoint,
        registration: registration_endpoint,
        token: token_endpoint,
        jwks: jwks_uri,
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
}
