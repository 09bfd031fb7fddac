//! User and password (RFC 7617). A password costs its slow hash once; then it is remembered, by a keyed digest, for a
//! short while.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use base64::{Engine, engine::general_purpose::STANDARD};
use portreeve_policy::{BasicRule, InvalidUsers, PasswordEntry, Secret, parse_htpasswd};
use serde_json::Map;
use zeroize::Zeroizing;

use super::{
    CredentialContext, Origin, TokenDigest, TokenDigester, VerifiedCredential,
    authorization::CredentialFault,
    caller::{AcceptedCredential, CredentialKind},
    presentation::{AuthenticationError, CredentialRefusal, Presentation},
    shares::Short,
    verified_credential::place,
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    bulkhead::Turn,
    clock::UnixMillis,
    peer::Peer,
};

/// A rule for user and password, ready. What it remembers dies with the users' file.
pub(super) struct BasicUsers {
    rule: BasicRule,
    file: Secret,
    users: BTreeMap<String, PasswordEntry>,
    origin: Arc<Origin>,
    /// One hash of each kind and cost that any user has.
    costs: Vec<PasswordEntry>,
    verified: BoundedCache<TokenDigest, Arc<VerifiedCredential>>,
}

/// How long a password that was right is remembered.
const REMEMBERED: Duration = Duration::from_mins(5);

/// Bytes of remembered passwords' facts that one rule holds at the most.
const MAX_BYTES: u64 = 2 << 20;

/// Time that a password waits for its turn to be compared; the rule's own may be shorter.
pub(crate) const QUEUE_TIME: Duration = Duration::from_secs(10);

impl BasicUsers {
    pub(super) fn new(rule: &BasicRule, file: &Secret, previous: &[Arc<Self>]) -> Result<Arc<Self>, InvalidUsers> {
        if let Some(held) = previous.iter().find(|held| held.rule == *rule && held.file == *file) {
            return Ok(Arc::clone(held));
        }
        let text = file.expose_str().ok_or(InvalidUsers { line: 0, reason: "not text" })?;
        let users = parse_htpasswd(text)?;
        let mut costs: Vec<PasswordEntry> = Vec::new();
        for entry in users.values() {
            if !costs.iter().any(|known| cost(known) == cost(entry)) {
                costs.push(entry.clone());
            }
        }
        Ok(Arc::new(Self {
            rule: rule.clone(),
            file: file.clone(),
            users,
            costs,
            origin: Origin::held("basic", &place(&rule.users)),
            verified: BoundedCache::new(MAX_BYTES),
        }))
    }

    /// What its memory takes.
    pub(super) fn held(&self) -> Held {
        self.verified.held()
    }

    pub(super) async fn verify(
        self: &Arc<Self>,
        presentation: &Presentation<'_>,
        credential: &str,
        CredentialContext { memory, digester, clock }: &CredentialContext,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let digest = digester.digest(credential);
        if let Some(credential) = self.verified.get(&digest)
            && now < credential.usable_until()
        {
            return Ok(AcceptedCredential {
                kind: CredentialKind::Basic,
                credential,
                digest,
                cache: None,
                issuer: None,
            });
        }
        let (user, password) = split(credential).ok_or(AuthenticationError::Broken(CredentialFault::Malformed))?;
        let peer = Peer::of(presentation.client);
        let attempt = memory.attempts.reserve(counted_under(digester, &self.rule.realm, &user), peer, now);
        let attempt = attempt.map_err(too_many)?;
        let place = memory.hashing.enter(peer).ok_or(AuthenticationError::Busy)?;
        let turn = place.turn(QUEUE_TIME).await.ok_or(AuthenticationError::Busy)?;
        let now = clock.now();
        let wait = attempt.wait(now);
        if !wait.is_zero() {
            return Err(too_many(wait));
        }
        if !self.matches(&user, password, turn).await {
            attempt.failed(clock.now());
            return Err(AuthenticationError::Refused(CredentialRefusal::Password));
        }
        attempt.succeeded();
        let mut members = Map::new();
        members.insert("sub".to_owned(), user.as_str().into());
        let credential = VerifiedCredential::of_claims(&members, &self.origin, now.plus(REMEMBERED));
        let credential = Arc::new(credential.ok_or(AuthenticationError::Refused(CredentialRefusal::Password))?);
        self.verified.insert(digest, Arc::clone(&credential));
        Ok(AcceptedCredential { kind: CredentialKind::Basic, credential, digest, cache: None, issuer: None })
    }

    /// Runs slow hashes beside the workers, so that requests go on meanwhile. The turn lasts as long as they do, whether
    /// anybody waits for them or not.
    async fn matches(&self, user: &str, password: Zeroizing<Vec<u8>>, turn: Turn) -> bool {
        let (hashes, own) = self.hashes_for(user);
        let compare = move || {
            let _turn = turn;
            let matched = hashes.iter().map(|entry| matches(entry, &password)).collect::<Vec<_>>();
            own.and_then(|own| matched.get(own).copied()).unwrap_or(false)
        };
        tokio::task::spawn_blocking(compare).await.unwrap_or(false)
    }

    /// What a password is compared with: one hash of every kind and cost that any user has, the user's own among them if
    /// there is one. So an unknown user takes as long as a known one, and a known one as long as every other (C3, L5).
    fn hashes_for(&self, user: &str) -> (Vec<PasswordEntry>, Option<usize>) {
        let known = self.users.get(user);
        let own = known.and_then(|entry| self.costs.iter().position(|other| cost(other) == cost(entry)));
        let mut hashes = self.costs.clone();
        if let (Some(entry), Some(place)) = (known, own.and_then(|own| hashes.get_mut(own))) {
            place.clone_from(entry);
        }
        (hashes, own)
    }
}

/// What decides how long a hash takes: its kind with every parameter before the salt.
fn cost(entry: &PasswordEntry) -> &str {
    match entry {
        // `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`
        PasswordEntry::Argon2id(text) => {
            let salt = text.rfind('$').and_then(|hash| text.get(..hash)?.rfind('$'));
            salt.and_then(|salt| text.get(..salt)).unwrap_or_default()
        }
        // `$2b$12$` and 53 characters; the letter makes no difference.
        PasswordEntry::Bcrypt(text) => text.get(3..7).unwrap_or_default(),
    }
}

fn matches(entry: &PasswordEntry, password: &[u8]) -> bool {
    match entry {
        PasswordEntry::Argon2id(text) => {
            PasswordHash::new(text).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
        }
        PasswordEntry::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
    }
}

/// User and password: UTF-8, split at the first colon, no control character in the user (RFC 7617 section 2).
fn split(credential: &str) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let pair = Zeroizing::new(STANDARD.decode(credential).ok()?);
    let text = str::from_utf8(&pair).ok()?;
    let (user, password) = text.split_once(':')?;
    if user.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    Some((user.to_owned(), Zeroizing::new(password.as_bytes().to_vec())))
}

/// Under what attempts are counted: the realm, and the user within it.
pub(super) fn counted_under(digester: &TokenDigester, realm: &str, user: &str) -> (Short, Short) {
    let user = digester.digest(&format!("user\0{realm}\0{user}"));
    (digester.digest(&format!("realm\0{realm}")).short(), user.short())
}

/// In whole seconds, never earlier.
pub(super) fn too_many(wait: Duration) -> AuthenticationError {
    AuthenticationError::TooManyAttempts(wait.as_secs().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon_only() {
        let read = |text: &str| split(&STANDARD.encode(text)).map(|(u, p)| (u, String::from_utf8(p.to_vec()).unwrap()));
        assert_eq!(read("ann:a:b"), Some(("ann".to_owned(), "a:b".to_owned())));
        assert_eq!(read("ann:"), Some(("ann".to_owned(), String::new())));
        assert_eq!(read("test:123£"), Some(("test".to_owned(), "123£".to_owned())));
        for bad in ["", "ann", ":x", "a\u{7}:x", "a:\n"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(split("not base64!"), None);
        assert_eq!(split(&STANDARD.encode(b"a:\xff")), None);
    }

    #[test]
    fn c3_l5_known_and_unknown_users_cost_the_same_hashes() {
        let argon = |m: u32, salt: &str| format!("$argon2id$v=19$m={m},t=1,p=1${salt}$aGFzaGhhc2g");
        let bcrypt = |letter: char, cost: u32| {
            format!("$2{letter}${cost:02}$abcdefghijklmnopqrstuvabcdefghijklmnopqrstuvabcdefghijk")
        };
        let file = format!(
            "ann:{}\nbob:{}\ncid:{}\ndan:{}\neve:{}\nfay:{}\n",
            argon(8, "c2FsdHNhbHQ"),
            argon(8, "b3RoZXJzYWx0"),
            argon(64, "c2FsdHNhbHQ"),
            bcrypt('y', 5),
            bcrypt('b', 5),
            bcrypt('b', 12),
        );
        let rule = serde_json::from_value(serde_json::json!({
            "realm": "team", "users": "default/team#htpasswd", "upstreamToken": "none",
        }));
        let users = BasicUsers::new(&rule.unwrap(), &Secret::new(file.into_bytes()), &[]).unwrap();
        let work = |user: &str| {
            let (hashes, own) = users.hashes_for(user);
            let mut costs: Vec<_> = hashes.iter().map(|entry| cost(entry).to_owned()).collect();
            costs.sort();
            let own = own.map(|own| hashes[own].clone());
            (costs, own)
        };
        let (of_nobody, nothing) = work("nobody");
        assert_eq!((of_nobody.len(), nothing.is_none()), (4, true), "{of_nobody:?}");
        for user in ["ann", "bob", "cid", "dan", "eve", "fay"] {
            let (costs, own) = work(user);
            assert_eq!(costs, of_nobody, "{user}");
            assert!(own.as_ref() == users.users.get(user), "{user} is compared with the own hash");
        }
    }

    #[test]
    fn knows_both_hashes() {
        let entry = PasswordEntry::Bcrypt(bcrypt::hash("s3cret", 4).unwrap());
        assert!(matches(&entry, b"s3cret") && !matches(&entry, b"other"));
        assert!(!matches(&PasswordEntry::Argon2id("$argon2id$broken".to_owned()), b"s3cret"));
    }
}
