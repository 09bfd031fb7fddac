//! Users with passwords. What is stored of a password is never the password itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::UpstreamToken;
use crate::SecretName;

/// Rule for user and password (RFC 7617).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicRule {
    /// Shown to the client; printable ASCII without quote and backslash.
    pub realm: String,
    /// Secret with lines `user:hash`, argon2id or bcrypt.
    pub users: SecretName,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// Rule for user and digest (RFC 7616).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DigestRule {
    /// Part of what is hashed; printable ASCII without quote and backslash.
    pub realm: String,
    /// Secret with lines `user:realm:hash`; the length of the hash tells its algorithm.
    pub users: SecretName,
    /// What is offered. MD5 only by explicit wish.
    pub algorithms: BTreeSet<DigestAlgorithm>,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// Hash of HTTP Digest (RFC 7616 section 6.1), the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum DigestAlgorithm {
    Sha256,
    Md5,
}

/// What is stored of a user's password for Basic: a hash that was made to be slow.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordEntry {
    /// In the PHC form: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    Argon2id(String),
    /// `$2a$`, `$2b$` or `$2y$`.
    Bcrypt(String),
}

/// What is stored of a user's password for Digest: H(user:realm:password) in lower-case hexadecimal digits. It is as
/// good as the password in that realm.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestEntry {
    /// Which hash.
    pub algorithm: DigestAlgorithm,
    /// Its digits.
    pub hash: String,
}

/// A file of users that cannot be used. Names the line, never what stands in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct InvalidUsers {
    /// From 1; 0 speaks of the whole.
    pub line: usize,
    /// What is wrong.
    pub reason: &'static str,
}

impl DigestAlgorithm {
    /// As `algorithm` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }
}

/// Reads lines of `user:hash`. Comments begin with `#`.
pub fn parse_htpasswd(text: &str) -> Result<BTreeMap<String, PasswordEntry>, InvalidUsers> {
    let mut users = BTreeMap::new();
    for (line, content) in lines(text) {
        let fault = |reason| InvalidUsers { line, reason };
        let (user, hash) = content.split_once(':').ok_or_else(|| fault("expected user:hash"))?;
        check_user(user).map_err(fault)?;
        let entry = if hash.starts_with("$argon2id$") {
            PasswordEntry::Argon2id(hash.to_owned())
        } else if ["$2a$", "$2b$", "$2y$"].iter().any(|start| hash.starts_with(start)) {
            PasswordEntry::Bcrypt(hash.to_owned())
        } else {
            return Err(fault("the hash is neither argon2id nor bcrypt; make it with `htpasswd -B`"));
        };
        if users.insert(user.to_owned(), entry).is_some() {
            return Err(fault("duplicate user"));
        }
    }
    if users.is_empty() { Err(InvalidUsers { line: 0, reason: "there is no user" }) } else { Ok(users) }
}

/// Reads lines of `user:realm:hash` of one realm; users of other realms are left out.
pub fn parse_htdigest(
    text: &str,
    realm: &str,
) -> Result<BTreeMap<(String, DigestAlgorithm), DigestEntry>, InvalidUsers> {
    let mut users = BTreeMap::new();
    for (line, content) in lines(text) {
        let fault = |reason| InvalidUsers { line, reason };
        let mut parts = content.splitn(3, ':');
        let (Some(user), Some(of), Some(hash)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(fault("expected user:realm:hash"));
        };
        check_user(user).map_err(fault)?;
        let algorithm = match hash.len() {
            32 => DigestAlgorithm::Md5,
            64 => DigestAlgorithm::Sha256,
            _ => return Err(fault("the hash has neither 64 (SHA-256) nor 32 (MD5) hexadecimal digits")),
        };
        if !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(fault("the hash is not in lower-case hexadecimal digits"));
        }
        let entry = DigestEntry { algorithm, hash: hash.to_owned() };
        if of == realm && users.insert((user.to_owned(), algorithm), entry).is_some() {
            return Err(fault("duplicate user for this realm and algorithm"));
        }
    }
    if users.is_empty() { Err(InvalidUsers { line: 0, reason: "there is no user of this realm" }) } else { Ok(users) }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index.saturating_add(1), line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// RFC 7617 section 2: no colon, no control characters.
fn check_user(user: &str) -> Result<(), &'static str> {
    if user.is_empty() || user.len() > 255 || user.chars().any(char::is_control) {
        return Err("a user's name has 1 to 255 characters and no control character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_users_and_names_the_line_that_is_wrong() {
        let good = "# team\nann:$2y$05$abcdefghijklmnopqrstuv\n\nbob:$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA\n";
        assert_eq!(parse_htpasswd(good).map(|users| users.len()), Ok(2));
        for (text, line) in [
            ("", 0),
            ("ann", 1),
            ("ann:plain", 1),
            ("ann:{SHA}abc", 1),
            (":$2y$05$x", 1),
            ("ann:$2y$05$x\nann:$2y$05$x", 2),
            ("a\u{7}b:$2y$05$x", 1),
        ] {
            assert_eq!(parse_htpasswd(text).err().map(|fault| fault.line), Some(line), "{text:?}");
        }
    }

    #[test]
    fn tells_digest_algorithms_by_length() {
        let text = format!("ann:api:{}\nann:api:{}\nann:other:{}\n", "a".repeat(64), "b".repeat(32), "c".repeat(64));
        let users = parse_htdigest(&text, "api").unwrap_or_default();
        assert_eq!(users.keys().map(|(_, algorithm)| algorithm.as_str()).collect::<Vec<_>>(), ["SHA-256", "MD5"]);
        assert!(parse_htdigest(&text, "nowhere").is_err());
        assert!(parse_htdigest("ann:api:XYZ", "api").is_err());
    }
}
