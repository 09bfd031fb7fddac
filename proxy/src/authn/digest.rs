//! HTTP Digest (RFC 7616): user and a digest of the password, over a nonce of ours, with `qop=auth` always.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest as sha};
use md5::{Digest as _, Md5};
use portreeve_policy::{CanonicalPath, DigestAlgorithm, DigestEntry, DigestRule, InvalidUsers, Secret, parse_htdigest};
use serde_json::Map;

use super::{
    Origin, TokenDigester, VerifiedCredential,
    authorization::CredentialFault,
    basic::{counted_under, too_many},
    caller::{AcceptedCredential, CredentialKind},
    memory::{CredentialMemory, NonceUse, NonceVerdict},
    presentation::{AuthenticationError, CredentialRefusal, Presentation},
    shares::Use,
    verified_credential::place,
};
use crate::{clock::UnixMillis, peer::Peer};

/// A rule for Digest, ready.
pub(super) struct DigestUsers {
    rule: DigestRule,
    users: BTreeMap<(String, DigestAlgorithm), DigestEntry>,
    origin: Arc<Origin>,
}

/// The parameters of an Authorization field, each at most once.
struct Parameters<'a>(BTreeMap<String, Cow<'a, str>>);

/// Reads parameters as a caller writes them; for the fuzzer alone.
pub(super) fn try_parameters(text: &str) {
    drop(Parameters::read(text));
}

impl DigestUsers {
    pub(super) fn new(rule: &DigestRule, file: &Secret) -> Result<Self, InvalidUsers> {
        let text = file.expose_str().ok_or(InvalidUsers { line: 0, reason: "not text" })?;
        let origin = Origin::held("digest", &place(&rule.users));
        Ok(Self { rule: rule.clone(), users: parse_htdigest(text, &rule.realm)?, origin })
    }

    pub(super) fn verify(
        &self,
        presentation: &Presentation<'_>,
        text: &str,
        digester: &TokenDigester,
        memory: &CredentialMemory,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let malformed = AuthenticationError::Broken(CredentialFault::Malformed);
        let refused = AuthenticationError::Refused(CredentialRefusal::Digest);
        let parameters = Parameters::read(text).ok_or(malformed)?;
        let get = |name: &str| parameters.0.get(name).map(AsRef::as_ref).ok_or(malformed);
        let (user, realm, nonce, uri) = (get("username")?, get("realm")?, get("nonce")?, get("uri")?);
        let (response, cnonce, count_text) = (get("response")?, get("cnonce")?, get("nc")?);
        if get("qop")? != "auth" || count_text.len() != 8 {
            return Err(malformed);
        }
        let count = u32::from_str_radix(count_text, 16).map_err(|_ignored: std::num::ParseIntError| malformed)?;
        // Section 3.4.6: the digest covers the address that is asked for, or the request is refused with 400.
        if !names_the_target(uri, presentation) {
            return Err(malformed);
        }
        let algorithm = match parameters.0.get("algorithm").map(AsRef::as_ref) {
            None | Some("MD5") => DigestAlgorithm::Md5,
            Some("SHA-256") => DigestAlgorithm::Sha256,
            Some(_) => return Err(refused),
        };
        // An algorithm that is not offered is a downgrade (C4).
        if realm != self.rule.realm || !self.rule.algorithms.contains(&algorithm) {
            return Err(refused);
        }
        let entry = self.users.get(&(user.to_owned(), algorithm));
        // An unknown user costs the same (C3).
        let stored = entry.map_or("0", |entry| entry.hash.as_str());
        let covered = Covered { method: presentation.method.as_str(), uri, nonce, count: count_text, cnonce };
        let under = counted_under(digester, realm, user);
        let attempt = memory.attempts.reserve(under, Peer::of(presentation.client), now).map_err(too_many)?;
        let expected = covered.response(algorithm, stored);
        let right = verify_slices_are_equal(expected.as_bytes(), response.as_bytes()).is_ok();
        if entry.is_none() || !right {
            attempt.failed(now);
            return Err(refused);
        }
        // Only now: a stale nonce is told as such only to who knows the password (section 3.3).
        match memory.check_nonce(NonceUse::Digest, nonce, now) {
            NonceVerdict::Fresh => {}
            NonceVerdict::Stale => return Err(AuthenticationError::Refused(CredentialRefusal::StaleNonce)),
            NonceVerdict::Unknown => return Err(refused),
        }
        let owner = digester.digest(&format!("nonces\0{}\0{realm}\0{user}", self.origin.authority())).short();
        match memory.nonce_counts.advance(owner, digester.digest(nonce).short(), count, now) {
            Use::First => {}
            Use::Repeated => return Err(refused),
            Use::Full => return Err(AuthenticationError::Overloaded),
        }
        // Not before: a response that somebody overheard is right as well.
        attempt.succeeded();
        let mut members = Map::new();
        members.insert("sub".to_owned(), user.into());
        let credential = VerifiedCredential::of_claims(&members, &self.origin, now).ok_or(refused)?;
        let digest = digester.digest(&format!("digest\0{realm}\0{user}\0{stored}"));
        Ok(AcceptedCredential {
            kind: CredentialKind::Digest,
            credential: Arc::new(credential),
            digest,
            cache: None,
            issuer: None,
        })
    }
}

/// Whether `uri` is the target of the request, after the same normalising.
fn names_the_target(uri: &str, presentation: &Presentation<'_>) -> bool {
    let target = match uri.split_once("://") {
        None => uri,
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    CanonicalPath::parse(path).is_ok_and(|path| path == *presentation.path) && query == presentation.query
}

/// What a response is made over, besides the password.
struct Covered<'a> {
    method: &'a str,
    uri: &'a str,
    nonce: &'a str,
    count: &'a str,
    cnonce: &'a str,
}

impl Covered<'_> {
    /// Section 3.4.1, for `qop=auth`.
    fn response(&self, algorithm: DigestAlgorithm, stored: &str) -> String {
        let Self { method, uri, nonce, count, cnonce } = self;
        let a2 = hex(algorithm, format!("{method}:{uri}").as_bytes());
        hex(algorithm, format!("{stored}:{nonce}:{count}:{cnonce}:auth:{a2}").as_bytes())
    }
}

fn hex(algorithm: DigestAlgorithm, bytes: &[u8]) -> String {
    match algorithm {
        DigestAlgorithm::Sha256 => digits(sha::digest(&sha::SHA256, bytes).as_ref()),
        DigestAlgorithm::Md5 => digits(Md5::digest(bytes).as_ref()),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

impl<'a> Parameters<'a> {
    /// `name=value` and `name="value"` separated by commas (RFC 9110 section 11.2). A duplicate name, or the
    /// form with `username*` and `userhash`, is not taken.
    fn read(text: &'a str) -> Option<Self> {
        let mut found = BTreeMap::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let name = name.trim_end().to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return None;
            }
            let (value, after) = value(after.trim_start())?;
            if found.insert(name, value).is_some() || found.len() > 16 {
                return None;
            }
            rest = after.trim_start();
            if rest.is_empty() {
                break;
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
        (!found.is_empty()).then_some(Self(found))
    }
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty() && !value.contains(['"', '\\', '='])).then_some((value.into(), rest));
    };
    let mut plain = String::new();
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            _ if escaped => {
                plain.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((plain.into(), quoted.get(at.saturating_add(1)..)?)),
            _ => plain.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests;
