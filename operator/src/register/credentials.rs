//! What the credentials Secret holds. Pure.

use std::collections::BTreeMap;

use portreeve_compiler::ResolvedRegistration;
use portreeve_registration::{ClientKey, Registered, Secret};

/// What an application needs to act as its client. It holds secrets, so it has no `Debug`.
pub(super) struct ClientCredentials {
    client_id: String,
    client_secret: Option<Secret>,
    key: Option<ClientKey>,
    issuer: String,
    token_endpoint: Option<String>,
}

/// Names of the values, as docs/registration.md has them.
const CLIENT_ID: &str = "client_id";
const CLIENT_SECRET: &str = "client_secret";
const PRIVATE_KEY: &str = "private_key";
const KEY_ID: &str = "key_id";
const ISSUER: &str = "issuer";
const TOKEN_ENDPOINT: &str = "token_endpoint";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const DOT_ENV: &str = ".env";

impl ClientCredentials {
    /// The credentials of a client at its token service.
    pub(super) fn new(client: &Registered, target: &ResolvedRegistration) -> Self {
        Self {
            client_id: client.client_id.clone(),
            client_secret: client.client_secret.clone(),
            key: client.key.clone(),
            issuer: target.issuer.clone(),
            token_endpoint: target.token_endpoint.clone(),
        }
    }

    /// The values by the names that the object gives them.
    pub(super) fn data(&self, names: &BTreeMap<String, String>) -> BTreeMap<String, Secret> {
        let mut values = self.values();
        let lines: String = values.iter().map(|(name, value)| line(name, value.expose())).collect();
        values.insert(DOT_ENV, Secret::new(lines));
        let given = |name: &str| names.get(name).map_or(name, String::as_str).to_owned();
        values.into_iter().map(|(name, value)| (given(name), value)).collect()
    }

    fn values(&self) -> BTreeMap<&'static str, Secret> {
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut values = BTreeMap::from([(CLIENT_ID, plain(&self.client_id)), (ISSUER, plain(&self.issuer))]);
        values.extend(self.token_endpoint.as_deref().map(|endpoint| (TOKEN_ENDPOINT, plain(endpoint))));
        match &self.key {
            // A client with a key needs no secret, even if the server made one.
            Some(ClientKey { private, certificate: Some(certificate), .. }) => {
                values.insert(TLS_CERTIFICATE, plain(certificate));
                values.insert(TLS_KEY, private.clone());
            }
            Some(ClientKey { kid, private, certificate: None, .. }) => {
                values.insert(PRIVATE_KEY, private.clone());
                values.insert(KEY_ID, plain(kid));
            }
            None => values.extend(self.client_secret.clone().map(|secret| (CLIENT_SECRET, secret))),
        }
        values
    }
}

/// The names under which the identity of credentials is found in a Secret, as the object gives them.
pub(super) fn identity_names(names: &BTreeMap<String, String>) -> [String; 2] {
    [CLIENT_ID, KEY_ID].map(|name| names.get(name).map_or(name, String::as_str).to_owned())
}

/// `OAUTH_CLIENT_ID="…"`, as shells and most readers of such files understand it.
fn line(name: &str, value: &str) -> String {
    let name: String = name.chars().map(|c| if c == '.' { '_' } else { c.to_ascii_uppercase() }).collect();
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '"' | '\\' | '$' | '`' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    format!("OAUTH_{name}=\"{text}\"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(secret: Option<&str>, key: Option<ClientKey>) -> ClientCredentials {
        ClientCredentials {
            client_id: "c1".to_owned(),
            client_secret: secret.map(|secret| Secret::new(secret.to_owned())),
            key,
            issuer: "https://login.test".to_owned(),
            token_endpoint: Some("https://login.test/token".to_owned()),
        }
    }

    fn names(credentials: &ClientCredentials, renamed: &[(&str, &str)]) -> Vec<String> {
        let renamed = renamed.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        credentials.data(&renamed).into_keys().collect()
    }

    #[test]
    fn holds_what_the_method_needs_under_documented_names() {
        let key = |certificate: Option<&str>| ClientKey {
            kid: "k1".to_owned(),
            public: serde_json::Value::Null,
            private: Secret::new("PEM\nPEM".to_owned()),
            certificate: certificate.map(str::to_owned),
            until: None,
        };
        let with_secret = credentials(Some("s\"$"), None);
        assert_eq!(names(&with_secret, &[]), [".env", "client_id", "client_secret", "issuer", "token_endpoint"]);
        assert_eq!(
            names(&credentials(Some("s"), Some(key(None))), &[]),
            [".env", "client_id", "issuer", "key_id", "private_key", "token_endpoint"]
        );
        assert_eq!(
            names(&credentials(None, Some(key(Some("CERT")))), &[]),
            [".env", "client_id", "issuer", "tls.crt", "tls.key", "token_endpoint"]
        );
        assert_eq!(
            names(&with_secret, &[("client_id", "ID"), (".env", "shop.env")]),
            ["ID", "client_secret", "issuer", "shop.env", "token_endpoint"]
        );
        let data = credentials(Some("s\"$"), None).data(&BTreeMap::new());
        assert_eq!(
            data[".env"].expose(),
            "OAUTH_CLIENT_ID=\"c1\"\nOAUTH_CLIENT_SECRET=\"s\\\"\\$\"\nOAUTH_ISSUER=\"https://login.test\"\n\
             OAUTH_TOKEN_ENDPOINT=\"https://login.test/token\"\n"
        );
        let data = credentials(None, Some(key(Some("C")))).data(&BTreeMap::new());
        assert!(data[".env"].expose().contains("OAUTH_TLS_KEY=\"PEM\\nPEM\"\n"));
    }
}
