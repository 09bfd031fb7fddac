//! Cross-origin requests of browsers (Fetch standard, section "HTTP CORS protocol").

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Hostname;

/// Who answers CORS preflights, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Cors {
    /// Preflights are refused with 403; nothing of them reaches the application.
    #[default]
    Refuse,
    /// The application answers: without body, query and credentials, and only its `Access-Control-*` fields go back.
    Passthrough,
    /// The proxy answers, and nothing of a preflight reaches the application. What the application says of CORS is
    /// taken out of its answers.
    Answer(Box<CorsRule>),
}

/// What other origins may do. The methods are those that the route's rules match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CorsRule {
    /// Origins whose scripts may read answers. Never empty.
    pub origins: BTreeSet<OriginPattern>,
    /// Request header fields beyond the safelisted ones, lower case.
    pub headers: BTreeSet<String>,
    /// Answer header fields that scripts may read beyond the safelisted ones, lower case.
    pub exposed: BTreeSet<String>,
    /// Whether requests may carry cookies and the like.
    pub credentials: bool,
    /// Seconds for which a browser may keep the answer to a preflight; 0 says nothing of it.
    pub max_age_seconds: u32,
}

/// Some origins; written `*`, `null`, `https://app.example.com`, or `https://*.example.com` for every host below a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OriginPattern {
    /// Every origin.
    Any,
    /// This one, as browsers serialize it.
    Exact(String),
    /// Every host below a domain.
    Below {
        /// With `://`.
        scheme: String,
        /// With the dot before it, and the port if there is one.
        domain: String,
    },
}

/// A text that is no origin as browsers write one (RFC 6454 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: expected *, null, scheme://host or scheme://*.domain, lower case, no path, no default port"
)]
pub struct InvalidOrigin(String);

impl Cors {
    /// Whether this is the only case in which nothing needs to be said.
    pub fn is_refuse(&self) -> bool {
        matches!(self, Self::Refuse)
    }
}

impl CorsRule {
    /// Whether scripts of an origin may read answers.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether the answer is the same for every origin.
    pub fn is_for_any(&self) -> bool {
        self.origins.contains(&OriginPattern::Any)
    }
}

impl OriginPattern {
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, domain } => {
                let host = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_suffix(domain.as_str()));
                host.is_some_and(|below| {
                    !below.is_empty() && below.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
                })
            }
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "null" => return Some(Self::Exact(text.to_owned())),
            _ => {}
        }
        let (scheme, authority) = text.split_once("://")?;
        let default = match scheme {
            "http" => "80",
            "https" => "443",
            _ => return None,
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        if let Some(port) = port {
            let number: u16 = port.parse().ok().filter(|number| *number > 0)?;
            if number.to_string() != port || port == default {
                return None;
            }
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        if Hostname::parse(name).ok()?.to_string() != name {
            return None;
        }
        if !host.starts_with('*') {
            return Some(Self::Exact(text.to_owned()));
        }
        let domain = authority.strip_prefix('*')?.to_owned();
        Some(Self::Below { scheme: format!("{scheme}://"), domain })
    }
}

impl TryFrom<String> for OriginPattern {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, InvalidOrigin> {
        Self::read(&text).ok_or(InvalidOrigin(text))
    }
}

impl From<OriginPattern> for String {
    fn from(pattern: OriginPattern) -> Self {
        match pattern {
            OriginPattern::Any => "*".to_owned(),
            OriginPattern::Exact(text) => text,
            OriginPattern::Below { scheme, domain } => format!("{scheme}*{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_write_and_nothing_near() {
        for text in [
            "*",
            "null",
            "https://a.example.com",
            "http://a.example.com:8080",
            "https://*.example.com",
            "https://*.example.com:8443",
        ] {
            let pattern = OriginPattern::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(pattern), text);
        }
        for text in [
            "",
            "a.example.com",
            "https://",
            "https://a.example.com/",
            "https://A.example.com",
            "https://a.example.com:443",
            "http://a.example.com:80",
            "https://a.example.com:0443",
            "https://a.example.com:0",
            "https://u@a.example.com",
            "ftp://a.example.com",
            "https://a b",
            "https://*",
            "https://a.*.example.com",
            "https://**.example.com",
            "NULL",
            "https://a.example.com:",
            "https://*.",
            "https://a.example.com?x",
        ] {
            assert!(OriginPattern::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_domain_lets_in_what_is_below_it_and_nothing_beside_it() {
        let below = OriginPattern::try_from("https://*.example.com".to_owned()).unwrap();
        for origin in ["https://a.example.com", "https://a.b.example.com"] {
            assert!(below.matches(origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://aexample.com",
            "https://.example.com",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://u@a.example.com",
            "null",
            "",
            "https://a.example.com.evil.test",
        ] {
            assert!(!below.matches(origin), "{origin}");
        }
    }
}
