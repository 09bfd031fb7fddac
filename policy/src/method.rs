//! Request methods (RFC 9110 section 9).

use std::fmt;

use serde::{Deserialize, Serialize};

/// The methods of the IANA registry (RFC 9110 section 16.1), QUERY and PURGE, but for CONNECT and TRACE, which no rule can ever
/// let through, PRI, which is no method of requests, and `*`.
const REGISTERED: [&str; 38] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
    "PURGE",
];

/// A method that routes can name: a registered one, so that a misspelt one does not leave its requests to another rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// A text that is no method, or one that the proxy never forwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a method that a rule can name: a registered one in upper-case letters, not CONNECT or TRACE")]
pub struct InvalidMethod(String);

impl Method {
    /// The token, as it stands on the request line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Method {
    type Error = InvalidMethod;

    fn try_from(text: String) -> Result<Self, InvalidMethod> {
        if REGISTERED.contains(&text.as_str()) { Ok(Self(text)) } else { Err(InvalidMethod(text)) }
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}
