//! API keys. Stored is a salted digest; the key itself is shown once, when it is made.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::UpstreamToken;
use crate::{KeySet, Scope, SecretName};

/// Rule for API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeyRule {
    /// How keys are known.
    pub source: ApiKeySource,
    /// Where the request carries the key. It is removed there before the upstream.
    pub location: ApiKeyLocation,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// How keys are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ApiKeySource {
    /// Secrets of lines as [`parse_api_keys`] reads them.
    Digests(Vec<SecretName>),
    /// Self-contained keys: a JWT of type `key+jwt` with `sub`, `aud`, `exp`, signed by one of these keys.
    Signed {
        /// Who may sign.
        keys: KeySet,
        /// `aud` of the key.
        audience: String,
        /// Where the keys of the signers are held, for the names of callers: `shop/signers/keys.json`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        signers: String,
    },
}

/// Where a request carries its API key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ApiKeyLocation {
    /// In the cookie of this name.
    Cookie(String),
    /// In the header of this name, in lower case.
    Header(String),
    /// In the query parameter of this name. Answers must not be cached then, and logs along the way hold the key.
    Query(String),
}

/// One key of one consumer.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyEntry {
    /// Whose key it is.
    pub consumer: String,
    /// Stands in the key, after `prk_`; not a secret.
    pub key_id: String,
    /// 16 random bytes.
    pub salt: Vec<u8>,
    /// SHA-256 of salt and whole key.
    pub digest: [u8; 32],
    /// First second (since 1970) at which it counts.
    pub not_before: u64,
    /// First second at which it counts no longer.
    pub not_after: u64,
    /// Scopes of the consumer with this key.
    pub scopes: BTreeSet<Scope>,
}

/// A file of keys that cannot be used. Names the line, never what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidApiKeys {
    /// From 1; 0 speaks of the whole.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl ApiKeyEntry {
    /// Start of every key: it says what was found when one turns up in the wrong place.
    pub const PREFIX: &'static str = "prk_";

    /// The identifier that a key names, if it has the form `prk_ID_SECRET`.
    pub fn id_of(key: &str) -> Option<&str> {
        let (id, secret) = key.strip_prefix(Self::PREFIX)?.split_once('_')?;
        (is_key_id(id) && secret.len() >= 20).then_some(id)
    }

    /// The entry as a line.
    pub fn to_line(&self) -> String {
        let Self { consumer, key_id, salt, digest, not_before, not_after, scopes } = self;
        let (salt, digest) = (URL_SAFE_NO_PAD.encode(salt), URL_SAFE_NO_PAD.encode(digest));
        let mut line = format!("{consumer} {key_id} sha256 {salt} {digest}");
        if *not_before > 0 {
            line.push_str(&format!(" not-before={not_before}"));
        }
        if *not_after < u64::MAX {
            line.push_str(&format!(" not-after={not_after}"));
        }
        for scope in scopes {
            line.push_str(&format!(" scope={scope}"));
        }
        line
    }
}

/// Reads lines of `CONSUMER KEY-ID sha256 SALT DIGEST [not-before=SECONDS] [not-after=SECONDS] [scope=SCOPE]...`, salt
/// and digest in base64url. Comments begin with `#`. A consumer may have several keys; a key identifier stands once.
pub fn parse_api_keys(text: &str) -> Result<Vec<ApiKeyEntry>, InvalidApiKeys> {
    let mut entries: Vec<ApiKeyEntry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |reason| InvalidApiKeys { line: index.saturating_add(1), reason };
        let entry = parse_line(line).map_err(fault)?;
        if entries.iter().any(|known| known.key_id == entry.key_id) {
            return Err(fault("duplicate key identifier"));
        }
        entries.push(entry);
    }
    if entries.is_empty() { Err(InvalidApiKeys { line: 0, reason: "there is no key" }) } else { Ok(entries) }
}

fn parse_line(line: &str) -> Result<ApiKeyEntry, &'static str> {
    let mut columns = line.split_ascii_whitespace();
    let mut column = || columns.next().ok_or("expected CONSUMER KEY-ID sha256 SALT DIGEST");
    let (consumer, key_id, kind, salt, digest) = (column()?, column()?, column()?, column()?, column()?);
    if consumer.len() > 128 || !consumer.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("a consumer has 1 to 128 printable ASCII characters");
    }
    if !is_key_id(key_id) {
        return Err("a key identifier has 4 to 32 letters and digits");
    }
    if kind != "sha256" {
        return Err("the only digest is sha256");
    }
    let octets = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_ignored: base64::DecodeError| "not base64url");
    let salt = octets(salt)?;
    if salt.len() < 16 {
        return Err("a salt has at least 16 bytes");
    }
    let digest = octets(digest)?.try_into().map_err(|_ignored: Vec<u8>| "a digest has 32 bytes")?;
    let mut entry = ApiKeyEntry {
        consumer: consumer.to_owned(),
        key_id: key_id.to_owned(),
        salt,
        digest,
        not_before: 0,
        not_after: u64::MAX,
        scopes: BTreeSet::new(),
    };
    for setting in columns {
        let (name, value) = setting.split_once('=').ok_or("expected name=value after the digest")?;
        let seconds = || value.parse().map_err(|_ignored: std::num::ParseIntError| "expected seconds since 1970");
        match name {
            "not-before" => entry.not_before = seconds()?,
            "not-after" => entry.not_after = seconds()?,
            "scope" => {
                let scope = Scope::try_from(value.to_owned());
                entry.scopes.insert(scope.map_err(|_ignored: crate::InvalidScope| "not a scope")?);
            }
            _ => return Err("the settings are not-before, not-after and scope"),
        }
    }
    if entry.not_after <= entry.not_before {
        return Err("not-after lies before not-before");
    }
    Ok(entry)
}

fn is_key_id(text: &str) -> bool {
    (4..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> String {
        format!("acme k3y0 sha256 {} {}", URL_SAFE_NO_PAD.encode([1; 16]), URL_SAFE_NO_PAD.encode([2; 32]))
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = format!("# partners\n{} not-before=5 not-after=9 scope=orders:read\n", line());
        let entries = parse_api_keys(&text).unwrap_or_default();
        assert_eq!(entries.len(), 1);
        for entry in &entries {
            assert!(parse_api_keys(&entry.to_line()).is_ok_and(|again| again == entries));
            assert_eq!((entry.not_before, entry.not_after, entry.scopes.len()), (5, 9, 1));
        }
    }

    #[test]
    fn a_line_says_only_what_is_not_so_anyway() {
        let entry = |text: &str| parse_api_keys(text).unwrap_or_default().pop().map(|entry| entry.to_line());
        assert_eq!(entry(&line()), Some(line()));
        let bounded = format!("{} not-before=1 not-after={}", line(), u64::MAX - 1);
        assert_eq!(entry(&bounded), Some(bounded));
    }

    #[test]
    fn a_consumer_has_1_to_128_printable_characters() {
        let named = |name: &str| parse_api_keys(&line().replacen("acme", name, 1)).is_ok();
        assert!(named(&"a".repeat(128)) && named("~"));
        assert!(!named(&"a".repeat(129)) && !named("\u{e4}") && !named("a\u{7f}"));
    }

    #[test]
    fn names_the_line_that_is_wrong_and_nothing_of_it() {
        for bad in [
            String::new(),
            "acme".to_owned(),
            line().replace("sha256", "md5"),
            line().replace("k3y0", "k_y"),
            format!("{} not-after=0", line()),
            format!("{} not-after=soon", line()),
            format!("{} colour=red", line()),
            format!("{}\n{}", line(), line()),
            line().replace(&URL_SAFE_NO_PAD.encode([1; 16]), "AAAA"),
        ] {
            let told = parse_api_keys(&bad).err().map(|fault| fault.to_string()).unwrap_or_default();
            assert!(told.starts_with("line ") && !told.contains("acme"), "{bad:?}: {told:?}");
        }
    }

    #[test]
    fn keys_name_their_identifier() {
        assert_eq!(ApiKeyEntry::id_of("prk_k3y0_0123456789abcdefghij"), Some("k3y0"));
        for bad in ["", "prk_", "prk_k3y0", "prk_k3y0_short", "k3y0_0123456789abcdefghij", "prk__0123456789abcdefghij"]
        {
            assert_eq!(ApiKeyEntry::id_of(bad), None, "{bad}");
        }
    }
}
