//! Request methods (RFC 9110 section 9).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A method token that routes can name. CONNECT and TRACE are none: no rule can ever let them through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Method(String);

/// A text that is no method, or one that the proxy never forwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a method that a rule can allow: upper-case letters, not CONNECT or TRACE")]
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
        let legal = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if legal && text != "CONNECT" && text != "TRACE" { Ok(Self(text)) } else { Err(InvalidMethod(text)) }
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.0
    }
}
