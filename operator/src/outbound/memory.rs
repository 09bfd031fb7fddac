//! What was learned from token services, kept over a restart, so that an operator that starts while a token service is
//! away does not take its keys from proxies (O8). All of it is public.

use std::collections::BTreeMap;

use portreeve_compiler::{Discovered, DiscoveredEndpoints, MtlsAliases};
use portreeve_policy::{KeySet, NamespacedName};
use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;

/// What was last read successfully, by TokenService.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Memory(BTreeMap<NamespacedName, Remembered>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Remembered {
    issuer: String,
    introspection: Option<String>,
    registration: Option<String>,
    token: Option<String>,
    jwks: Option<String>,
    #[serde(default)]
    mtls_introspection: Option<String>,
    #[serde(default)]
    mtls_token: Option<String>,
    keys: Option<KeySet>,
    #[serde(default)]
    left_out: Vec<String>,
    /// Seconds since 1970, rounded down to the hour, so that reading what is known already writes nothing for an hour.
    /// Left out by older operators: nobody knows how old.
    #[serde(default)]
    read_at: u64,
}

/// Seconds.
const HOUR: u64 = 3600;

impl Memory {
    /// Reads what [`Memory::to_bytes`] wrote; anything else is as good as nothing.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// As JSON.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was read of this issuer, and when; keys of another one are nobody's keys.
    pub(super) fn recall(&self, name: &NamespacedName, issuer: &str) -> Option<(Discovered, UnixMillis)> {
        let held = self.0.get(name).filter(|held| held.issuer == issuer)?.clone();
        let Remembered { introspection, registration, token, jwks, keys, left_out, read_at, .. } = held;
        let mtls = MtlsAliases { introspection: held.mtls_introspection, token: held.mtls_token };
        let endpoints = DiscoveredEndpoints { introspection, registration, token, jwks, mtls };
        Some((Discovered { endpoints, keys, left_out, fault: None }, UnixMillis(read_at.saturating_mul(1000))))
    }

    /// Notes what was read.
    pub(super) fn note(&mut self, name: &NamespacedName, issuer: &str, found: &Discovered, now: UnixMillis) {
        let DiscoveredEndpoints { introspection, registration, token, jwks, mtls } = found.endpoints.clone();
        let MtlsAliases { introspection: mtls_introspection, token: mtls_token } = mtls;
        let (issuer, keys, seconds) = (issuer.to_owned(), found.keys.clone(), now.0 / 1000);
        let read_at = seconds.saturating_sub(seconds % HOUR);
        let remembered = Remembered {
            issuer,
            introspection,
            registration,
            token,
            jwks,
            mtls_introspection,
            mtls_token,
            keys,
            left_out: found.left_out.clone(),
            read_at,
        };
        self.0.insert(name.clone(), remembered);
    }

    /// Forgets TokenServices that are gone.
    pub(super) fn retain(&mut self, wanted: impl Fn(&NamespacedName) -> bool) {
        self.0.retain(|name, _| wanted(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recalls_only_what_was_read_of_the_same_issuer() {
        let name: NamespacedName = "identity/login".parse().unwrap();
        let found = Discovered {
            endpoints: DiscoveredEndpoints {
                token: Some("https://a.test/t".to_owned()),
                mtls: MtlsAliases { token: Some("https://mtls.a.test/t".to_owned()), ..MtlsAliases::default() },
                ..Default::default()
            },
            keys: Some(KeySet::parse(br#"{"keys":[]}"#).unwrap().0),
            left_out: vec!["key 0 of the set is not used: not base64url".to_owned()],
            fault: None,
        };
        let mut memory = Memory::default();
        memory.note(&name, "https://a.test", &found, UnixMillis(7_300_000));
        let before = memory.clone();
        memory.note(&name, "https://a.test", &found, UnixMillis(10_700_000));
        assert_eq!(memory, before, "within the hour there is nothing to write");
        let memory = Memory::from_bytes(&memory.to_bytes());
        assert_eq!(memory.recall(&name, "https://a.test"), Some((found, UnixMillis(7_200_000))), "never younger");
        assert_eq!(memory.recall(&name, "https://b.test"), None);
        assert_eq!(Memory::from_bytes(b"rubbish"), Memory::default());
    }
}
