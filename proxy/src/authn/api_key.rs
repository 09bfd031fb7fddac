//! API keys: where they stand in a request, and whose they are.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Context, SHA256},
};
use http::{HeaderMap, header::COOKIE};
use portreeve_policy::{ApiKeyEntry, ApiKeyLocation, ApiKeyRule, ApiKeySource, InvalidApiKeys, Secret, parse_api_keys};
use prometheus::Gauge;
use serde_json::Map;

use super::{
    Origin, TokenDigester, VerifiedCredential,
    authorization::CredentialFault,
    caller::{AcceptedCredential, CredentialKind},
    jwt::{self, TokenType},
    key_ring::KeyRing,
    presentation::{AuthenticationError, CredentialRefusal, Presentation},
    verified_credential::place,
};
use crate::clock::UnixMillis;

/// Longest key that is looked at, in bytes.
const MAX_KEY: usize = 4096;

/// A rule for API keys, ready.
pub(super) struct ApiKeys {
    location: ApiKeyLocation,
    known: Known,
}

enum Known {
    /// By identifier.
    Digests(HashMap<String, Entry>),
    Signed {
        keys: KeyRing,
        audience: String,
        origin: Arc<Origin>,
    },
}

struct Entry {
    stored: ApiKeyEntry,
    credential: Arc<VerifiedCredential>,
    last_use: Gauge,
}

impl ApiKeys {
    /// `last_use` gives the metric of a consumer's key.
    pub(super) fn new(
        rule: &ApiKeyRule,
        secrets: &[&Secret],
        last_use: &dyn Fn(&str, &str) -> Gauge,
    ) -> Result<Self, InvalidApiKeys> {
        let known = match &rule.source {
            ApiKeySource::Signed { keys, audience, signers } => {
                let place = if signers.is_empty() { audience } else { signers };
                let origin = Origin::held("signedApiKey", place);
                Known::Signed { keys: KeyRing::new(keys), audience: audience.clone(), origin }
            }
            ApiKeySource::Digests(names) => {
                let mut known = HashMap::new();
                for (name, secret) in names.iter().zip(secrets) {
                    let origin = Origin::held("apiKey", &place(name));
                    let text = secret.expose_str().ok_or(InvalidApiKeys { line: 0, reason: "not text" })?;
                    for entry in parse_api_keys(text)? {
                        let credential =
                            credential(&entry, &origin).ok_or(InvalidApiKeys { line: 0, reason: "not a consumer" })?;
                        let last_use = last_use(&entry.consumer, &entry.key_id);
                        let id = entry.key_id.clone();
                        if known
                            .insert(id, Entry { stored: entry, credential: Arc::new(credential), last_use })
                            .is_some()
                        {
                            return Err(InvalidApiKeys { line: 0, reason: "a key identifier stands in two Secrets" });
                        }
                    }
                }
                Known::Digests(known)
            }
        };
        Ok(Self { location: rule.location.clone(), known })
    }

    pub(super) fn location(&self) -> &ApiKeyLocation {
        &self.location
    }

    /// The key in a request, if there is one; two of them are a fault.
    pub(super) fn find<'a>(&self, presentation: &Presentation<'a>) -> Result<Option<&'a str>, CredentialFault> {
        let found = match &self.location {
            ApiKeyLocation::Header(name) => in_header(presentation.headers, name)?,
            ApiKeyLocation::Cookie(name) => only(cookies(presentation.headers).filter(|(n, _)| n == name))?,
            ApiKeyLocation::Query(name) => only(parameters(presentation.query).filter(|(n, _)| n == name))?,
        };
        match found {
            Some(key) if key.len() > MAX_KEY => Err(CredentialFault::TooLong),
            Some("") => Err(CredentialFault::Malformed),
            found => Ok(found),
        }
    }

    pub(super) fn verify(
        &self,
        key: &str,
        digester: &TokenDigester,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let refused = AuthenticationError::Refused(CredentialRefusal::ApiKey);
        let credential = match &self.known {
            Known::Digests(known) => {
                let id = ApiKeyEntry::id_of(key);
                let found = id.and_then(|id| known.get(id));
                // An unknown key costs the same digest as a known one (C3).
                let salt = found.map_or(&[0; 16][..], |found| found.stored.salt.as_slice());
                let mut context = Context::new(&SHA256);
                context.update(salt);
                context.update(key.as_bytes());
                let digest = context.finish();
                let expected = found.map_or(&[0; 32], |found| &found.stored.digest);
                let equal = verify_slices_are_equal(digest.as_ref(), expected).is_ok();
                let found = found.filter(|_| equal).ok_or(refused)?;
                let seconds = now.0 / 1000;
                if seconds < found.stored.not_before || seconds >= found.stored.not_after {
                    return Err(refused);
                }
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages to come")]
                found.last_use.set(seconds as f64);
                Arc::clone(&found.credential)
            }
            Known::Signed { keys, audience, origin } => {
                Arc::new(signed(key, keys, audience, origin, now).ok_or(refused)?)
            }
        };
        Ok(AcceptedCredential {
            kind: CredentialKind::ApiKey,
            credential,
            digest: digester.digest(key),
            cache: None,
            issuer: None,
        })
    }
}

/// What is known of a consumer.
fn credential(entry: &ApiKeyEntry, origin: &Arc<Origin>) -> Option<VerifiedCredential> {
    let scope: Vec<_> = entry.scopes.iter().map(portreeve_policy::Scope::as_str).collect();
    let mut members = Map::new();
    members.insert("sub".to_owned(), entry.consumer.as_str().into());
    members.insert("client_id".to_owned(), entry.consumer.as_str().into());
    members.insert("key_id".to_owned(), entry.key_id.as_str().into());
    if !scope.is_empty() {
        members.insert("scope".to_owned(), scope.join(" ").into());
    }
    if entry.not_after < u64::MAX {
        members.insert("exp".to_owned(), entry.not_after.into());
    }
    VerifiedCredential::of_claims(&members, origin, UnixMillis(u64::MAX))
}

/// A self-contained key: a JWT of its own type, so that no other token passes for one (RFC 8725 section 3.11). Who signs
/// keys speaks for no issuer, and a key that is bound to another one would have to be proven, which nobody does for keys.
fn signed(
    key: &str,
    keys: &KeyRing,
    audience: &str,
    origin: &Arc<Origin>,
    now: UnixMillis,
) -> Option<VerifiedCredential> {
    let text = key.strip_prefix(ApiKeyEntry::PREFIX).unwrap_or(key);
    let mut members = jwt::verify_members(text, TokenType::Exactly("key+jwt"), keys).ok()?.members;
    if members.contains_key("iss") || members.contains_key("cnf") {
        return None;
    }
    let consumer = members.get("sub")?.clone();
    members.entry("client_id").or_insert(consumer);
    let credential = VerifiedCredential::of_claims(&members, origin, now)?;
    let claims = credential.claims();
    claims.expires_at()?;
    jwt::check_times(claims, now).ok()?;
    let ours = claims.audiences().any(|named| named == audience);
    ours.then_some(credential)
}

fn in_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, CredentialFault> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(CredentialFault::Repeated);
    }
    line.to_str().map(|text| Some(text.trim())).map_err(|_ignored: http::header::ToStrError| CredentialFault::Malformed)
}

fn only<'a>(mut found: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Option<&'a str>, CredentialFault> {
    let first = found.next();
    if found.next().is_some() { Err(CredentialFault::Repeated) } else { Ok(first.map(|(_, value)| value)) }
}

/// Pairs of every Cookie line (RFC 6265 section 4.2.1).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

fn parameters(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='))
}

/// Takes the key out of what goes upstream.
pub fn remove_api_key(location: &ApiKeyLocation, headers: &mut HeaderMap, query: &mut Option<Box<str>>) {
    match location {
        ApiKeyLocation::Header(name) => drop(headers.remove(name.as_str())),
        ApiKeyLocation::Cookie(name) => {
            let kept: Vec<String> = cookies_of_all(headers, name);
            headers.remove(COOKIE);
            if let (false, Ok(value)) = (kept.is_empty(), http::HeaderValue::from_str(&kept.join("; "))) {
                headers.insert(COOKIE, value);
            }
        }
        ApiKeyLocation::Query(name) => {
            let Some(text) = query.take() else { return };
            let other = |pair: &&str| pair.split_once('=').map_or(*pair, |(n, _)| n) != name;
            let kept: Vec<_> = text.split('&').filter(other).collect();
            *query = (!kept.is_empty()).then(|| kept.join("&").into());
        }
    }
}

fn cookies_of_all(headers: &HeaderMap, without: &str) -> Vec<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).map(str::trim).filter(|pair| !pair.is_empty());
    pairs.filter(|pair| pair.split_once('=').is_none_or(|(n, _)| n != without)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_and_nothing_else_is() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", "k".parse().unwrap());
        headers.append(COOKIE, "a=1; key=k; b=2".parse().unwrap());
        headers.append(COOKIE, "c=3".parse().unwrap());
        let mut query = Some("a=1&key=k&b=2&key&flag".into());
        for location in [
            ApiKeyLocation::Header("x-api-key".into()),
            ApiKeyLocation::Cookie("key".into()),
            ApiKeyLocation::Query("key".into()),
        ] {
            remove_api_key(&location, &mut headers, &mut query);
        }
        assert_eq!(headers.get("x-api-key"), None);
        assert_eq!(headers.get(COOKIE).unwrap(), "a=1; b=2; c=3");
        assert_eq!(query.as_deref(), Some("a=1&b=2&flag"));
        let mut last = Some("key=k".into());
        remove_api_key(&ApiKeyLocation::Query("key".into()), &mut headers, &mut last);
        assert_eq!(last, None);
    }
}
