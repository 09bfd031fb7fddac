//! Tokens that are bound to a key of their sender (RFC 7800, RFC 8705 section 3.1, RFC 9449 section 6).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{BindingMethod, ProofRule};
use serde_json::{Map, Value};

use super::claims::WrongType;
use crate::heap_size::allocation;

/// What `cnf` says. Absent: anyone may use the token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Binding {
    /// To one or two keys; each has to be proven.
    Bound(Box<Bound>),
    /// To nothing.
    #[default]
    Unbound,
}

/// Thumbprints of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// `x5t#S256`: SHA-256 of the certificate.
    pub(super) certificate: Option<[u8; 32]>,
    /// `jkt`: SHA-256 of the public key (RFC 7638).
    pub(super) dpop: Option<[u8; 32]>,
}

/// Why the sender did not prove that the token is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ProofFault {
    #[error("the token is bound to another client certificate, or none was shown")]
    Certificate,
    #[error("there is no DPoP proof, or more than one")]
    Missing,
    #[error("the DPoP proof is malformed or its signature is wrong")]
    Malformed,
    #[error("the DPoP proof is for another method, address or token")]
    Mismatch,
    #[error("the DPoP proof is too old or from the future")]
    Age,
    #[error("the DPoP proof has been used before")]
    Replayed,
    #[error("the DPoP proof is signed by another key than the token is bound to")]
    Key,
    #[error("the DPoP proof lacks a nonce of ours, or has an old one")]
    Nonce,
    #[error("a bound token came under the Bearer scheme, or an unbound one under DPoP")]
    Scheme,
    #[error("the rule demands a token that is bound to a key")]
    Unbound,
}

impl Binding {
    /// Reads `cnf`. A confirmation that we cannot check makes the token unusable, never a plain bearer token.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, WrongType> {
        let wrong = || WrongType("cnf");
        let cnf = match members.get("cnf") {
            None => return Ok(Self::Unbound),
            Some(Value::Object(cnf)) => cnf,
            Some(_) => return Err(wrong()),
        };
        let thumbprint = |name: &str| match cnf.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => {
                let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
                bytes.map(Some).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        };
        let bound = Bound { certificate: thumbprint("x5t#S256")?, dpop: thumbprint("jkt")? };
        if bound.certificate.is_none() && bound.dpop.is_none() {
            return Err(wrong());
        }
        Ok(Self::Bound(Box::new(bound)))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Bound(bound) => allocation(size_of_val(&**bound)),
            Self::Unbound => 0,
        }
    }

    /// Whether the token is bound in a way that the rule demands.
    pub(super) fn satisfies(&self, rule: &ProofRule) -> bool {
        let by = |method: &BindingMethod| match (self, method) {
            (Self::Unbound, _) => false,
            (Self::Bound(bound), BindingMethod::Certificate) => bound.certificate.is_some(),
            (Self::Bound(bound), BindingMethod::Dpop) => bound.dpop.is_some(),
        };
        rule.required.is_empty() || rule.required.iter().any(by)
    }

    /// The key that DPoP proofs must be signed with.
    pub(super) fn dpop(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Bound(bound) => bound.dpop.as_ref(),
            Self::Unbound => None,
        }
    }

    /// The certificate that the connection must show.
    pub(super) fn certificate(&self) -> Option<&[u8; 32]> {
        match self {
            Self::Bound(bound) => bound.certificate.as_ref(),
            Self::Unbound => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_confirmation_that_cannot_be_checked_is_never_taken_for_none_j11() {
        let print = URL_SAFE_NO_PAD.encode([7; 32]);
        for (cnf, bound) in [
            (json!({ "jkt": print }), Some((false, true))),
            (json!({ "x5t#S256": print }), Some((true, false))),
            (json!({ "x5t#S256": print, "jkt": print, "kid": "x" }), Some((true, true))),
            (json!({}), None),
            (json!({ "kid": "x" }), None),
            (json!({ "jwk": {} }), None),
            (json!({ "jkt": "short" }), None),
            (json!({ "jkt": 7 }), None),
            (json!({ "jkt": print, "x5t#S256": null }), None),
            (json!(null), None),
            (json!("x"), None),
        ] {
            let read = Binding::read(json!({ "cnf": cnf }).as_object().unwrap()).ok();
            let kinds = read.map(|binding| (binding.certificate().is_some(), binding.dpop().is_some()));
            assert_eq!(kinds, bound, "{cnf}");
        }
        assert_eq!(Binding::read(&Map::new()), Ok(Binding::Unbound));
    }
}
