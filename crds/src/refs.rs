//! Typed references between objects.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names an object in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object, e.g. `gateway`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names one value of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, e.g. `dcr`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the Secret, e.g. `token`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Names one text of a ConfigMap in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, e.g. `orders-rules`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the ConfigMap, e.g. `orders.cedar`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Names certificate authorities in PEM, in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaBundleRef {
    /// Kind of the object that holds them: ConfigMap or Secret.
    pub kind: CaBundleRefKind,
    /// Name of the object, e.g. `login-ca`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key within the object, e.g. `ca.crt`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Kinds that can hold certificate authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaBundleRefKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// Names a TokenService. One of another namespace can be used where its `allowedNamespaces` says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenServiceRef {
    /// Name of the TokenService, e.g. `login`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the TokenService; the object's own when left out, e.g. `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}
