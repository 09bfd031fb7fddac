//! What a request shows of its caller.

use std::{net::IpAddr, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, Method};
use portreeve_policy::{CanonicalPath, Hostname};
use rustls_pki_types::CertificateDer;

use super::{
    VerificationError,
    authorization::{AuthorizationField, CredentialFault, authorization},
    binding::ProofFault,
};
use crate::clock::UnixMillis;

/// Everything of a request that can prove something, read once.
pub struct Presentation<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// As the client used it.
    pub host: &'a Hostname,
    /// As the client named it.
    pub port: Option<u16>,
    /// Canonical.
    pub path: &'a CanonicalPath,
    /// As it came.
    pub query: Option<&'a str>,
    /// As they came.
    pub headers: &'a HeaderMap,
    /// Who speaks to us.
    pub client: IpAddr,
    /// When the request was taken in.
    pub now: UnixMillis,
    /// What was shown in the TLS handshake.
    pub certificates: Option<&'a PeerCertificates>,
    pub(super) authorization: AuthorizationField<'a>,
}

/// The certificate chain that a client showed, with proof of possession of its key but with nothing else checked.
#[derive(Debug)]
pub struct PeerCertificates {
    chain: Vec<CertificateDer<'static>>,
    thumbprint: [u8; 32],
}

/// Why a presented credential does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationError {
    /// Too many others wait to have theirs looked at: 503.
    Busy,
    /// Not of its form, or there are two of them: 400.
    Broken(CredentialFault),
    /// No room is left to remember another proof: 503.
    Overloaded,
    /// A key, a password or a certificate is wrong: 401.
    Refused(CredentialRefusal),
    /// A token does not count here: 401, or 502 when the upstream would get none.
    Token(TokenFault),
    /// Too many wrong passwords: 429 with this many seconds.
    TooManyAttempts(u64),
    /// Who could tell cannot be asked: 503.
    Unavailable(VerificationError),
}

/// Why a token does not count here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// None of its audiences is one of the rule's.
    Audience,
    /// There are no facts.
    Verification(VerificationError),
    /// The answer carried no JWT, and the rule demands one for the upstream.
    NoUpstreamJwt,
    /// The sender did not prove possession of the token's key.
    Proof(ProofFault),
    /// The token service did not exchange the token.
    Exchange,
    /// It lives longer than the rule allows, or does not say how long.
    TooLongLived,
}

/// Why a credential that is no token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CredentialRefusal {
    #[error("the API key is not known, or it is not valid at this time")]
    ApiKey,
    #[error("user or password is wrong")]
    Password,
    #[error("the digest of the password is wrong, or made for another request")]
    Digest,
    #[error("the nonce of the digest is too old")]
    StaleNonce,
    #[error("the client certificate is not from an authority that the rule trusts, or no longer valid, or revoked")]
    CertificateChain,
    #[error("the client certificate has none of the names that the rule wants")]
    CertificateName,
}

impl<'a> Presentation<'a> {
    /// Reads the Authorization field.
    #[expect(clippy::too_many_arguments, reason = "each is one credential of the request, named at the caller")]
    pub fn new(
        method: &'a Method,
        scheme: &'a str,
        host: &'a Hostname,
        port: Option<u16>,
        path: &'a CanonicalPath,
        query: Option<&'a str>,
        headers: &'a HeaderMap,
        client: IpAddr,
        now: UnixMillis,
        certificates: Option<&'a PeerCertificates>,
    ) -> Result<Self, CredentialFault> {
        let authorization = authorization(headers)?;
        Ok(Self { method, scheme, host, port, path, query, headers, client, now, certificates, authorization })
    }

    /// What stands in Authorization.
    pub fn authorization(&self) -> AuthorizationField<'a> {
        self.authorization
    }
}

impl PeerCertificates {
    /// Takes a chain over, the client's own certificate first. `None` for an empty one.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut thumbprint = [0; 32];
        thumbprint.copy_from_slice(digest(&SHA256, chain.first()?).as_ref());
        Some(Self { chain, thumbprint })
    }

    /// SHA-256 of the client's own certificate (`x5t#S256`).
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// The client's own certificate and those that came with it.
    pub(super) fn split(&self) -> Option<(&CertificateDer<'static>, &[CertificateDer<'static>])> {
        self.chain.split_first()
    }

    /// The client's own certificate (DER).
    pub fn own(&self) -> &[u8] {
        self.chain.first().map(AsRef::as_ref).unwrap_or_default()
    }
}

/// The time in the form that rustls takes.
pub(super) fn unix_time(now: UnixMillis) -> rustls_pki_types::UnixTime {
    rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_millis(now.0))
}
