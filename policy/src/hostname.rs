//! Host names of requests and of routes (RFC 9110 section 7.2, RFC 3986 section 3.2.2).

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

/// A host name in canonical form: lower case, no trailing dot, no port, no userinfo; or an IP address (IPv6 in brackets).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

/// What a route claims: one host name, or every name below a domain (`*.example.com`, any number of labels).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostnamePattern {
    /// Exactly this host.
    Exact(Hostname),
    /// Any host that ends in `.` and this one.
    Wildcard(Hostname),
}

/// A text that is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a host name: {0}")]
pub struct InvalidHostname(&'static str);

// === impl Hostname ===

impl Hostname {
    /// Parses and canonicalises the host part of an authority, without port.
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(InvalidHostname("it has 1 to 253 characters"));
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner
                .parse()
                .map_err(|_ignored: std::net::AddrParseError| InvalidHostname("bad IPv6 address in brackets"))?;
            return Ok(Self(format!("[{address}]")));
        }
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
        if !text.split('.').all(label) {
            return Err(InvalidHostname("letters, digits, '-' and '_' in labels parted by dots"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Hostname {
    type Error = InvalidHostname;

    fn try_from(text: String) -> Result<Self, InvalidHostname> {
        Self::parse(&text)
    }
}

impl From<Hostname> for String {
    fn from(host: Hostname) -> Self {
        host.0
    }
}

// === impl HostnamePattern ===

impl TryFrom<String> for HostnamePattern {
    type Error = InvalidHostname;

    fn try_from(text: String) -> Result<Self, InvalidHostname> {
        match text.strip_prefix("*.") {
            Some(domain) => Hostname::parse(domain).map(Self::Wildcard),
            None => Hostname::parse(&text).map(Self::Exact),
        }
    }
}

impl From<HostnamePattern> for String {
    fn from(pattern: HostnamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostnamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => write!(f, "{host}"),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonicalises_case_and_trailing_dot_p7() {
        assert_eq!(Hostname::parse("Orders.Example.COM.").unwrap().as_str(), "orders.example.com");
        assert_eq!(Hostname::parse("[2001:DB8::1]").unwrap().as_str(), "[2001:db8::1]");
        assert_eq!(Hostname::parse("127.0.0.1").unwrap().as_str(), "127.0.0.1");
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in ["", ".", "a..b", "a b", "user@host", "host/path", "a,b", "ho%73t", "höst", "[::1", "*.a", "a:80"]
        {
            assert!(Hostname::parse(text).is_err(), "{text}");
        }
    }
}
