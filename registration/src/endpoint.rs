//! The registration endpoint, and which management addresses may be told a token.

use url::Url;

/// Whether an endpoint may be plain http. Only a flag for development says [`InsecureHttp::Allowed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsecureHttp {
    /// Plain http is taken too.
    Allowed,
    /// Only https is taken (RFC 7591 section 5: no secrets without TLS).
    Refused,
}

/// Why a text is no registration endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It ends in a fragment.
    #[error("a registration endpoint has no fragment")]
    Fragment,
    /// It is not an absolute URL.
    #[error("a registration endpoint is an absolute URL")]
    NotAUrl,
    /// It is neither https nor, where that is allowed, http.
    #[error("a registration endpoint is https")]
    Scheme,
    /// It carries a user name or a password.
    #[error("a registration endpoint carries no user name or password")]
    UserInfo,
}

/// Where clients are registered (RFC 7591 section 3), e.g. `https://login.example.com/reg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

// === impl Endpoint ===

impl Endpoint {
    /// Reads an absolute https URL (or http, where the caller allows it) without user name, password and fragment.
    pub fn parse(text: &str, http: InsecureHttp) -> Result<Self, InvalidEndpoint> {
        let Ok(url) = Url::parse(text) else { return Err(InvalidEndpoint::NotAUrl) };
        match (url.scheme(), http) {
            ("https", _) | ("http", InsecureHttp::Allowed) => (),
            (_, InsecureHttp::Allowed | InsecureHttp::Refused) => return Err(InvalidEndpoint::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidEndpoint::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(InvalidEndpoint::Fragment);
        }
        Ok(Self(url))
    }

    /// The address itself.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port as a text, e.g. `https://login.example.com`.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Whether a registration token may be sent to `address`: the same scheme, host and port, and nothing hidden in a
    /// user name or a fragment. The path is the server's own affair (RFC 7592 section 3: the address is opaque).
    pub fn admits(&self, address: &Url) -> bool {
        self.0.origin() == address.origin()
            && address.username().is_empty()
            && address.password().is_none()
            && address.fragment().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, InsecureHttp, InvalidEndpoint};

    #[test]
    fn takes_only_https_unless_told_otherwise() {
        for (text, fault) in [
            ("/reg", InvalidEndpoint::NotAUrl),
            ("http://login.example.com/reg", InvalidEndpoint::Scheme),
            ("file:///reg", InvalidEndpoint::Scheme),
            ("https://me@login.example.com/reg", InvalidEndpoint::UserInfo),
            ("https://login.example.com/reg#x", InvalidEndpoint::Fragment),
        ] {
            assert_eq!(Endpoint::parse(text, InsecureHttp::Refused), Err(fault), "{text}");
        }
        assert!(Endpoint::parse("http://login.example.com/reg", InsecureHttp::Allowed).is_ok());
        assert_eq!(Endpoint::parse("ftp://a/reg", InsecureHttp::Allowed), Err(InvalidEndpoint::Scheme));
    }

    #[test]
    fn admits_only_addresses_of_its_own_origin() {
        let endpoint = Endpoint::parse("https://login.example.com/reg", InsecureHttp::Refused).unwrap();
        for (address, admitted) in [
            ("https://login.example.com/reg/7", true),
            ("https://login.example.com:443/other?id=7", true),
            ("http://login.example.com/reg/7", false),
            ("https://login.example.com:8443/reg/7", false),
            ("https://login.example.com.evil.test/reg/7", false),
            ("https://login.example.com@evil.test/reg/7", false),
            ("https://me@login.example.com/reg/7", false),
            ("https://login.example.com/reg/7#top", false),
            ("data:text/plain,7", false),
        ] {
            assert_eq!(endpoint.admits(&address.parse().unwrap()), admitted, "{address}");
        }
    }
}
