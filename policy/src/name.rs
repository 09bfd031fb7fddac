//! Names of objects and of the resources made from them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A text that is no name; the message says which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name: {rule}")]
pub struct InvalidName {
    text: String,
    rule: &'static str,
}

/// `namespace/name` of a Kubernetes object; both parts are DNS-1123 names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespacedName {
    namespace: String,
    name: String,
}

/// One value inside a Kubernetes Secret: `namespace/name#key`. The name is public, the value never is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName {
    object: NamespacedName,
    key: String,
}

// === impl NamespacedName ===

impl NamespacedName {
    /// Joins the two parts; each must be a DNS-1123 name of at most 253 characters.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidName> {
        for part in [namespace, name] {
            dns_subdomain(part).map_err(|rule| InvalidName { text: part.to_owned(), rule })?;
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for NamespacedName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "expected namespace/name";
        let (namespace, name) = text.split_once('/').ok_or_else(|| InvalidName { text: text.to_owned(), rule })?;
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for NamespacedName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<NamespacedName> for String {
    fn from(name: NamespacedName) -> Self {
        name.to_string()
    }
}

// === impl SecretName ===

impl SecretName {
    /// Names the value under `key` of a Secret. Keys follow Kubernetes' rule: letters, digits, `-`, `_`, `.`.
    pub fn new(object: NamespacedName, key: &str) -> Result<Self, InvalidName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if key.is_empty() || key.len() > 253 || !key.bytes().all(legal) {
            let rule = "a key has 1 to 253 letters, digits, '-', '_' or '.'";
            return Err(InvalidName { text: key.to_owned(), rule });
        }
        Ok(Self { object, key: key.to_owned() })
    }

    /// The Secret that holds the value.
    pub fn object(&self) -> &NamespacedName {
        &self.object
    }

    /// The key within the Secret.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.object, self.key)
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let rule = "expected namespace/name#key";
        let (object, key) = text.split_once('#').ok_or_else(|| InvalidName { text: text.clone(), rule })?;
        Self::new(object.parse()?, key)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.to_string()
    }
}

fn dns_subdomain(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 253 {
        return Err("it has 1 to 253 characters");
    }
    let label = |label: &str| {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty() && label.bytes().all(legal) && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.split('.').all(label) { Ok(()) } else { Err("lower-case letters, digits and '-' in labels parted by dots") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let name: NamespacedName = "shop/orders-v1".parse().unwrap();
        assert_eq!(name, name.to_string().parse().unwrap());
        let secret = SecretName::new(name, "client_secret").unwrap();
        assert_eq!(secret, SecretName::try_from(secret.to_string()).unwrap());
    }

    #[test]
    fn refuses_names_that_kubernetes_would_refuse() {
        for text in ["orders", "Shop/orders", "shop/", "/orders", "shop/-orders", "shop/or..ders", "shop/a/b"] {
            assert!(text.parse::<NamespacedName>().is_err(), "{text}");
        }
        let object: NamespacedName = "shop/orders".parse().unwrap();
        assert!(SecretName::new(object, "client/secret").is_err());
    }
}
