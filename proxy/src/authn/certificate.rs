//! Client certificates as a credential. The handshake proved possession of the key and nothing else; chain, validity,
//! revocation and names are checked here, for the rule of the request (M2, M4).

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::{CertificateName, ClientCertificateRule};
use rustls::{
    RootCertStore,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use serde_json::Map;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

use super::{
    Origin, TokenDigester, VerifiedCredential,
    caller::{AcceptedCredential, CredentialKind},
    presentation::{AuthenticationError, CredentialRefusal, PeerCertificates, unix_time},
};
use crate::{
    bounded_cache::{BoundedCache, Held},
    clock::UnixMillis,
};

/// A rule for client certificates, ready. What it remembers dies with the rule.
pub(super) struct CertificateVerifier {
    rule: ClientCertificateRule,
    chain: Arc<dyn ClientCertVerifier>,
    checked: BoundedCache<[u8; 32], Arc<VerifiedCredential>>,
    origin: Arc<Origin>,
}

/// How long a certificate that was good is remembered; its validity is part of the fact.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Bytes of remembered certificates' facts that one rule holds at the most.
const MAX_BYTES: u64 = 4 << 20;

/// Authorities or revocation lists that cannot be used. A broken file closes the rule, it never opens it (M3).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTrust {
    #[error("the certificate authorities are not readable")]
    Authorities,
    #[error("the revocation lists are not readable")]
    RevocationLists,
}

impl CertificateVerifier {
    pub(super) fn new(rule: &ClientCertificateRule, previous: &[Arc<Self>]) -> Result<Arc<Self>, InvalidTrust> {
        if let Some(held) = previous.iter().find(|held| held.rule == *rule) {
            return Ok(Arc::clone(held));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(rule.ca_certificates.as_bytes()) {
            let certificate =
                certificate.map_err(|_ignored: rustls_pki_types::pem::Error| InvalidTrust::Authorities)?;
            roots.add(certificate).map_err(|_ignored: rustls::Error| InvalidTrust::Authorities)?;
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(rule.revocation_lists.as_bytes());
        let lists = lists.collect::<Result<Vec<_>, _>>();
        let lists = lists.map_err(|_ignored: rustls_pki_types::pem::Error| InvalidTrust::RevocationLists)?;
        if lists.is_empty() != rule.revocation_lists.is_empty() {
            return Err(InvalidTrust::RevocationLists);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build()
            .map_err(|fault| {
                let lists = matches!(fault, rustls::server::VerifierBuilderError::InvalidCrl(_));
                if lists { InvalidTrust::RevocationLists } else { InvalidTrust::Authorities }
            })?;
        let origin = Origin::held("certificate", &rule.authorities);
        Ok(Arc::new(Self { rule: rule.clone(), chain, checked: BoundedCache::new(MAX_BYTES), origin }))
    }

    /// What its memory takes.
    pub(super) fn held(&self) -> Held {
        self.checked.held()
    }

    /// Whether the upstream gets the certificate.
    pub(super) fn forwards(&self) -> bool {
        self.rule.forward
    }

    pub(super) fn verify(
        &self,
        shown: &PeerCertificates,
        digester: &TokenDigester,
        now: UnixMillis,
    ) -> Result<AcceptedCredential, AuthenticationError> {
        let digest = digester.digest_bytes(shown.thumbprint());
        if let Some(credential) = self.checked.get(shown.thumbprint())
            && now < credential.usable_until()
        {
            return Ok(AcceptedCredential {
                kind: CredentialKind::ClientCertificate,
                credential,
                digest,
                cache: None,
                issuer: None,
            });
        }
        let refused = AuthenticationError::Refused(CredentialRefusal::CertificateChain);
        let (own, rest) = shown.split().ok_or(refused)?;
        self.chain.verify_client_cert(own, rest, unix_time(now)).map_err(|_ignored: rustls::Error| refused)?;
        let (_, certificate) = X509Certificate::from_der(own).map_err(|_ignored: x509_parser::nom::Err<_>| refused)?;
        let says = Says::read(&certificate, shown.thumbprint());
        if !self.rule.names.is_empty() && !self.rule.names.iter().any(|name| says.has(name)) {
            return Err(AuthenticationError::Refused(CredentialRefusal::CertificateName));
        }
        let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let until = UnixMillis(end.saturating_mul(1000)).min(now.plus(REMEMBERED));
        let credential = Arc::new(says.credential(&self.origin, end, until).ok_or(refused)?);
        self.checked.insert(*shown.thumbprint(), Arc::clone(&credential));
        Ok(AcceptedCredential {
            kind: CredentialKind::ClientCertificate,
            credential,
            digest,
            cache: None,
            issuer: None,
        })
    }
}

/// The names in a certificate. The kinds are never mixed, and the common name is no name (M4).
struct Says {
    subject: String,
    thumbprint: String,
    dns: Vec<String>,
    emails: Vec<String>,
    uris: Vec<String>,
}

impl Says {
    fn read(certificate: &X509Certificate<'_>, thumbprint: &[u8; 32]) -> Self {
        let mut says = Self {
            subject: distinguished_name(certificate.subject()),
            thumbprint: URL_SAFE_NO_PAD.encode(thumbprint),
            dns: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
        };
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|extension| &extension.value.general_names) {
            // A name with a NUL or another control character is nobody's name.
            let plain = |text: &&str| !text.bytes().any(|b| b.is_ascii_control());
            match name {
                GeneralName::DNSName(text) => says.dns.extend(Some(*text).filter(plain).map(str::to_ascii_lowercase)),
                GeneralName::RFC822Name(text) => says.emails.extend(Some(*text).filter(plain).map(str::to_owned)),
                GeneralName::URI(text) => says.uris.extend(Some(*text).filter(plain).map(str::to_owned)),
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_)
                | GeneralName::Invalid(..) => {}
            }
        }
        says
    }

    fn has(&self, name: &CertificateName) -> bool {
        match name {
            CertificateName::Dns(wanted) => self.dns.contains(wanted),
            CertificateName::Email(wanted) => self.emails.contains(wanted),
            CertificateName::Subject(wanted) => self.subject == *wanted,
            CertificateName::Thumbprint(wanted) => self.has_thumbprint(wanted),
            CertificateName::Uri(wanted) => self.uris.contains(wanted),
            CertificateName::SpiffeTrustDomain(domain) => {
                let id = self.spiffe_id().and_then(|id| id.strip_prefix("spiffe://"));
                id.is_some_and(|rest| rest.split('/').next() == Some(domain))
            }
        }
    }

    /// Exactly one URI, and it is a SPIFFE id (X509-SVID section 2).
    fn spiffe_id(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [only] => Some(only.as_str()).filter(|uri| uri.starts_with("spiffe://")),
            _ => None,
        }
    }

    fn has_thumbprint(&self, digits: &str) -> bool {
        let bytes = digits.as_bytes().chunks(2).map(|pair| {
            let pair = str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes.is_some_and(|bytes| URL_SAFE_NO_PAD.encode(bytes) == self.thumbprint)
    }

    fn credential(&self, origin: &Arc<Origin>, end: u64, until: UnixMillis) -> Option<VerifiedCredential> {
        let mut members = Map::new();
        members.insert("sub".to_owned(), self.spiffe_id().unwrap_or(&self.subject).into());
        members.insert("subject".to_owned(), self.subject.as_str().into());
        members.insert("x5t#S256".to_owned(), self.thumbprint.as_str().into());
        for (name, list) in [("dns", &self.dns), ("email", &self.emails), ("uri", &self.uris)] {
            if !list.is_empty() {
                members.insert(name.to_owned(), list.clone().into());
            }
        }
        members.insert("exp".to_owned(), end.into());
        VerifiedCredential::of_claims(&members, origin, until)
    }
}

/// RFC 4514: the last component first, separated by commas, special characters escaped.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let components: Vec<_> =
        name.iter_rdn().map(|component| component.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    components.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(pair: &AttributeTypeAndValue<'_>) -> String {
    let oid = pair.attr_type().to_id_string();
    let short = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "0.9.2342.19200300.100.1.1" => "UID",
        other => other,
    };
    format!("{short}={}", escaped(pair.as_str().unwrap_or("?")))
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        let edge = (character == ' ' && (at == 0 || at == last)) || (character == '#' && at == 0);
        if edge || matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            text.push('\\');
        }
        match character {
            c if c.is_control() => text.push_str(&format!("\\{:02X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests;
