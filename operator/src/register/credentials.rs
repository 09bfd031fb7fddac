//! What the credentials Secret holds. Pure.

use std::collections::BTreeMap;

use portreeve_compiler::ResolvedRegistration;
use portreeve_registration::{ClientKey, Registered, Secret};

/// What an application needs to act as its client. It holds secrets, so it has no `Debug`.
pub(super) struct ClientCredentials {
    client_id: String,
    client_secret: Option<Secret>,
    method: Option<String>,
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
const METHOD: &str = "token_endpoint_auth_method";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const DOT_ENV: &str = ".env";

impl ClientCredentials {
    /// The credentials of a client at its token service.
    pub(super) fn new(client: &Registered, target: &ResolvedRegistration) -> Self {
        Self {
            client_id: client.client_id.clone(),
            client_secret: client.client_secret.clone(),
            method: client.method.clone(),
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
        values.extend(self.method.as_deref().map(|method| (METHOD, plain(method))));
        // A server that registered a secret in place of a key takes no assertion (RFC 7591 section 3.2.1).
        let by_secret = self.method.as_deref().is_some_and(|method| method.starts_with("client_secret_"));
        match self.key.as_ref().filter(|_| !(by_secret && self.client_secret.is_some())) {
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

/// `OAUTH_CLIENT_ID='…'`. Single quotes mean the same to shells, python-dotenv, dotenv for Node.js and `node --env-file`:
/// nothing within is special. A value with a single quote or a line break has to stand in double quotes, with the
/// escapes of shells.
fn line(name: &str, value: &str) -> String {
    let name: String = name.chars().map(|c| if matches!(c, '.') { '_' } else { c.to_ascii_uppercase() }).collect();
    if !value.contains(['\'', '\n', '\r']) && !value.ends_with('\\') && !value.contains("\\\\") {
        return format!("OAUTH_{name}='{value}'\n");
    }
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
            method: Some("client_secret_basic".to_owned()).filter(|_| key.is_none()),
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
        let with_secret = credentials(Some("s"), None);
        let always = [".env", "client_id", "issuer", "token_endpoint"];
        let holds = |credentials: &ClientCredentials, more: &[&str]| {
            let mut wanted: Vec<&str> = [always.as_slice(), more].concat();
            wanted.sort_unstable();
            assert_eq!(names(credentials, &[]), wanted);
        };
        holds(&with_secret, &["client_secret", "token_endpoint_auth_method"]);
        holds(&credentials(Some("s"), Some(key(None))), &["key_id", "private_key"]);
        holds(&credentials(None, Some(key(Some("CERT")))), &["tls.crt", "tls.key"]);
        assert_eq!(
            names(&with_secret, &[("client_id", "ID"), (".env", "shop.env")]),
            ["ID", "client_secret", "issuer", "shop.env", "token_endpoint", "token_endpoint_auth_method"]
        );
    }

    #[test]
    fn fault_17_what_the_server_registered_counts() {
        let key = ClientKey {
            kid: "k1".to_owned(),
            public: serde_json::Value::Null,
            private: Secret::new("PEM".to_owned()),
            certificate: None,
            until: None,
        };
        let of = |method: &str, secret| ClientCredentials {
            method: Some(method.to_owned()),
            ..credentials(secret, Some(key.clone()))
        };
        for (method, secret, expected) in [
            ("private_key_jwt", None, "private_key"),
            ("private_key_jwt", Some("s"), "private_key"),
            ("client_secret_post", Some("s"), "client_secret"),
            ("client_secret_basic", None, "private_key"),
        ] {
            let data = of(method, secret).data(&BTreeMap::new());
            assert_eq!(data["token_endpoint_auth_method"].expose(), method);
            let held: Vec<_> = ["client_secret", "private_key"].into_iter().filter(|n| data.contains_key(*n)).collect();
            assert_eq!(held, [expected], "{method}");
        }
    }

    /// Tried with sh, bash, python-dotenv 1.0.1, dotenv 16 and `node --env-file`: single quotes are read alike by all.
    #[test]
    fn fault_15_values_stand_in_single_quotes_where_every_reader_takes_them_as_they_are() {
        for (value, expected) in [
            ("plain", "'plain'"),
            ("a$b`c\"d\\e#g h%i", "'a$b`c\"d\\e#g h%i'"),
            ("", "''"),
            ("a'b", "\"a'b\""),
            ("a'$b", "\"a'\\$b\""),
            ("a\nb", "\"a\\nb\""),
            // python-dotenv takes these for escapes in single quotes too.
            ("a\\", "\"a\\\\\""),
            ("a\\\\b", "\"a\\\\\\\\b\""),
        ] {
            assert_eq!(line("client_secret", value), format!("OAUTH_CLIENT_SECRET={expected}\n"), "{value}");
        }
        assert_eq!(line("tls.key", "x"), "OAUTH_TLS_KEY='x'\n");
    }
}
