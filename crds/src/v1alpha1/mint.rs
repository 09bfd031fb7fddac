//! The part of ApiPolicy that says how a token for the application is minted.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// How the gateway mints a JWT with the key of its namespace. The key set is at `/jwks` of the operator and of the
/// proxy's admin port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MintSpec {
    /// `aud`, e.g. `orders`.
    #[schemars(length(min = 1, max = 512))]
    pub audience: String,
    /// Longest life of one token, e.g. `60s` (default), at most `1h`. It never outlives the caller's credential.
    #[serde(default = "default_lifetime")]
    #[schemars(regex(pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub lifetime: String,
    /// Further claims by name; `sub`, `client_id` and `scope` are copied from the caller where they are not named here.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub claims: BTreeMap<String, ClaimSourceSpec>,
}

/// Where a claim comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.claim) != has(self.text)").message("exactly one of claim and text"))]
#[serde(rename_all = "camelCase")]
pub struct ClaimSourceSpec {
    /// The caller's claim of this name, e.g. `tenant`; left out where the caller has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub claim: Option<String>,
    /// This text, e.g. `gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub text: Option<String>,
}

fn default_lifetime() -> String {
    "60s".to_owned()
}
