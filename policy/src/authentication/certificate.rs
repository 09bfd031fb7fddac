//! Certificates of clients.

use serde::{Deserialize, Serialize};

use super::UpstreamToken;

/// Rule for certificates shown in the TLS handshake. The chain is checked for each request, so that a rule is never
/// met by a handshake that another rule allowed (M2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCertificateRule {
    /// Authorities that may have issued the certificate, in PEM.
    pub ca_certificates: String,
    /// Where the authorities are held, for the names of callers: `shop/partners/ca.crt`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authorities: String,
    /// Revocation lists in PEM; empty means that revocation is not checked.
    pub revocation_lists: String,
    /// One of these must be in the certificate; empty means that any certificate of the authorities counts.
    pub names: Vec<CertificateName>,
    /// Whether the upstream gets the certificate in `Client-Cert` (RFC 9440).
    pub forward: bool,
    /// What the upstream gets.
    pub upstream_token: UpstreamToken,
}

/// What a certificate must say. Types are never mixed, and the common name never stands in for another name (M4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum CertificateName {
    /// A DNS name among the subject alternative names, in lower case, compared whole.
    Dns(String),
    /// A mail address among the subject alternative names, compared byte for byte.
    Email(String),
    /// The whole subject in the form of RFC 4514, compared byte for byte.
    Subject(String),
    /// SHA-256 of the certificate (DER), in 64 hexadecimal digits.
    Thumbprint(String),
    /// A URI among the subject alternative names, compared byte for byte; a SPIFFE id for instance.
    Uri(String),
    /// Every SPIFFE id of this trust domain.
    SpiffeTrustDomain(String),
}

/// A text that no certificate can match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCertificateName(&'static str);

impl CertificateName {
    /// Whether the text can be met at all.
    pub fn check(&self) -> Result<(), InvalidCertificateName> {
        let fault = match self {
            Self::Dns(name) if name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase() || b == b'*') => {
                "a DNS name is in lower case and without wildcard"
            }
            Self::Email(text) | Self::Subject(text) if text.is_empty() => "the text is empty",
            Self::Thumbprint(text) if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                "a thumbprint is SHA-256 in 64 hexadecimal digits"
            }
            Self::Uri(text) if !text.contains(':') => "a URI has a scheme, such as spiffe://example.org/shop",
            Self::SpiffeTrustDomain(text) if text.is_empty() || text.contains(['/', ':']) => {
                "a trust domain is a name such as example.org"
            }
            Self::Dns(_)
            | Self::Email(_)
            | Self::Subject(_)
            | Self::Thumbprint(_)
            | Self::Uri(_)
            | Self::SpiffeTrustDomain(_) => return Ok(()),
        };
        Err(InvalidCertificateName(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::CertificateName::{Dns, Email, SpiffeTrustDomain, Subject, Thumbprint, Uri};

    #[test]
    fn m4_names_that_no_certificate_can_have_are_told() {
        let text = str::to_owned;
        let digits = "0123456789abcdefABCDEF0123456789abcdefABCDEF01234567890123456789";
        for good in [
            Dns(text("a.example")),
            Email(text("a@b")),
            Subject(text("CN=a")),
            Thumbprint(text(digits)),
            Uri(text("spiffe://a/b")),
            SpiffeTrustDomain(text("a.example")),
        ] {
            assert_eq!(good.check(), Ok(()), "{good:?}");
        }
        for bad in [
            Dns(text("")),
            Dns(text("A.example")),
            Dns(text("*.example")),
            Email(text("")),
            Subject(text("")),
            Thumbprint(text("")),
            Thumbprint(digits.get(1..).unwrap_or_default().to_owned()),
            Thumbprint(digits.replace('0', "g")),
            Uri(text("a/b")),
            SpiffeTrustDomain(text("")),
            SpiffeTrustDomain(text("spiffe:a")),
            SpiffeTrustDomain(text("a/b")),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
