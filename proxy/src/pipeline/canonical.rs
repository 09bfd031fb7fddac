//! The one canonical form of a request, built once or refused. Matching, policy and the forwarded request use it.

use std::{net::SocketAddr, sync::Arc};

use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{COOKIE, HOST},
    request::Parts,
    uri::Authority,
};
use portreeve_policy::{CanonicalPath, ClientAddress, Hostname, InvalidPath, Reason};

use super::{ClientSide, Interim, Upload, fields::SetAside};
use crate::authn::PeerCertificates;

/// What the transport knows of the connection.
#[derive(Debug)]
pub struct Connection {
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Address that the peer connected to.
    pub local: SocketAddr,
    /// Whether TLS was spoken.
    pub scheme: Scheme,
    /// What the client showed in the handshake.
    pub certificates: Option<PeerCertificates>,
    /// Found by the framing guard: the request with this number on the connection must be refused.
    pub framing: Arc<crate::transport::FramingVerdict>,
    /// Lent to the body of a request.
    pub upload: Upload,
    /// Interim answers on their way to the client.
    pub interim: Arc<Interim>,
}

/// URI scheme of the request as the client used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Scheme {
    Http,
    Https,
}

/// A request that was understood in one way only.
#[derive(Debug, Clone)]
pub struct CanonicalRequest {
    /// Never CONNECT or TRACE.
    pub method: Method,
    /// As the client used it.
    pub scheme: Scheme,
    /// Host without port.
    pub host: Hostname,
    /// Port that the client named.
    pub port: Option<u16>,
    /// Path, canonical.
    pub path: CanonicalPath,
    /// Query as it came, without the question mark.
    pub query: Option<Box<str>>,
    /// Address of the peer.
    pub client: SocketAddr,
    /// Version that the client speaks.
    pub version: Version,
    /// Scheme that the target names.
    pub(super) claimed: Option<Scheme>,
    /// End-to-end fields: what is matched, decided and forwarded.
    pub headers: HeaderMap,
    /// What was taken out of them.
    pub(super) aside: SetAside,
}

/// Why a request is refused before anything of it is used (RFC 9112, RFC 9113; bug classes P and F).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// CONNECT or TRACE.
    #[error("the method is never forwarded")]
    ForbiddenMethod,
    /// `Connection` is no list of names.
    #[error("Connection is not a list of names (RFC 9110 section 7.6.1)")]
    Connection,
    /// Message framing that two parsers could read in two ways.
    #[error("ambiguous message framing: {0}")]
    Framing(&'static str),
    /// The head is larger than 64 KiB (HTTP/2: 32 KiB), or has too many fields.
    #[error("the head of the request is too large")]
    HeadTooLarge,
    /// A target that no parser takes.
    #[error("the target of the request is no URI (RFC 9112 section 3.2)")]
    Target,
    /// The request line is longer than a head may be.
    #[error("the target of the request is too long")]
    TargetTooLong,
    /// No Host, several, or one that is no host.
    #[error("Host is missing, repeated or malformed (RFC 9112 section 3.2)")]
    Host,
    /// The authority of the target is another than Host.
    #[error("the request target names another authority than Host")]
    HostMismatch,
    /// The target names another scheme than the client used.
    #[error("the target names another scheme than the connection has (RFC 9110 section 7.4)")]
    Scheme,
    /// A field name that upstreams could read as another one.
    #[error("a field name imitates a framing field")]
    LookAlike,
    /// Of HTTP/2, what its parser lets through (RFC 9113 sections 8.2.1, 8.3.1).
    #[error("the path does not begin with '/', or a field value begins or ends with a blank (RFC 9113 section 8)")]
    Malformed,
    /// `Connection` names a field that a rule looks at.
    #[error("Connection names a field that a rule looks at")]
    NamedByConnection,
    /// See [`InvalidPath`].
    #[error("the path is refused: {0}")]
    Path(#[from] InvalidPath),
    /// A field name with `_` that the route does not let pass.
    #[error("a field name holds '_', which applications read in different ways")]
    Underscore,
    /// A query with characters that no query may hold.
    #[error("the query holds a character that a query may not hold")]
    Query,
}

/// Most fields of a request, cookies not counted; the parser of HTTP/1 has the same bound.
pub(crate) const MAX_FIELDS: usize = 100;

/// Bytes of the head of a request of HTTP/2.
pub(crate) const MAX_HEAD_H2: usize = 32 * 1024;

/// Most cookies that come one by one: what browsers keep for one domain.
pub(crate) const MAX_COOKIES: usize = 180;

impl InvalidRequest {
    /// The reason, one of a closed set.
    pub fn reason(self) -> Reason {
        match self {
            Self::Connection | Self::NamedByConnection | Self::Underscore => Reason::AmbiguousFields,
            Self::ForbiddenMethod => Reason::ForbiddenMethod,
            Self::Framing(_) | Self::LookAlike => Reason::AmbiguousFraming,
            Self::HeadTooLarge => Reason::HeadTooLarge,
            Self::Host | Self::HostMismatch => Reason::InvalidHost,
            Self::Malformed => Reason::MalformedRequest,
            Self::Scheme => Reason::WrongScheme,
            Self::Path(InvalidPath::TooLong) | Self::TargetTooLong => Reason::TargetTooLong,
            Self::Path(_) | Self::Query | Self::Target => Reason::InvalidTarget,
        }
    }

    /// Whether the bytes that follow on the connection can still be trusted.
    pub fn spoils_connection(self) -> bool {
        matches!(
            self,
            Self::Framing(_)
                | Self::HeadTooLarge
                | Self::Target
                | Self::TargetTooLong
                | Self::LookAlike
                | Self::Host
                | Self::HostMismatch
        )
    }
}

impl CanonicalRequest {
    /// Builds the canonical form; the header map is taken over.
    pub fn parse(parts: &mut Parts, connection: &Connection) -> Result<Self, InvalidRequest> {
        if has_too_many(&parts.headers) || (parts.version == Version::HTTP_2 && is_too_large(parts)) {
            return Err(InvalidRequest::HeadTooLarge);
        }
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(InvalidRequest::ForbiddenMethod);
        }
        if parts.version == Version::HTTP_2 && !is_well_formed(parts) {
            return Err(InvalidRequest::Malformed);
        }
        if parts.headers.keys().any(imitates_framing) {
            return Err(InvalidRequest::LookAlike);
        }
        let aside = SetAside::take_from(&mut parts.headers, parts.version)?;
        let (host, port) = authority(parts, connection)?;
        let path = CanonicalPath::parse(parts.uri.path())?;
        let query = parts.uri.query();
        if query.is_some_and(|query| !query.bytes().all(legal_in_query)) {
            return Err(InvalidRequest::Query);
        }
        Ok(Self {
            method: parts.method.clone(),
            scheme: connection.scheme,
            host,
            port,
            path,
            query: query.map(Into::into),
            client: connection.peer,
            version: parts.version,
            claimed: claimed_scheme(&parts.uri),
            headers: std::mem::take(&mut parts.headers),
            aside,
        })
    }

    /// What is asked must be what the client used: a target of `https` on a connection in clear text is for somebody else.
    /// A trusted proxy may have ended TLS before us.
    pub(super) fn check_scheme(&self, side: &ClientSide, trust: &ClientAddress) -> Result<(), InvalidRequest> {
        let same = self.claimed.is_none_or(|claimed| claimed == self.scheme || side.scheme == Some(claimed));
        if same || trust.trusts(self.client.ip().to_canonical()) { Ok(()) } else { Err(InvalidRequest::Scheme) }
    }

    /// `host` or `host:port`, as it goes upstream.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.to_string(), |port| format!("{}:{port}", self.host))
    }
}

fn claimed_scheme(uri: &Uri) -> Option<Scheme> {
    match uri.scheme_str()? {
        "https" => Some(Scheme::Https),
        "http" => Some(Scheme::Http),
        // Whatever it is, it is not spoken here.
        _ => None,
    }
}

/// Whether the request names one host, and in one way.
pub(super) fn check_authority(parts: &Parts, connection: &Connection) -> Result<(), InvalidRequest> {
    authority(parts, connection).map(drop)
}

/// The authority of the target wins (RFC 9112 section 3.2.2, RFC 9113 section 8.3.1); a Host beside it must agree. A client
/// of HTTP/1.0 may name none, and means whom it connected to (RFC 9112 section 3.3).
fn authority(parts: &Parts, connection: &Connection) -> Result<(Hostname, Option<u16>), InvalidRequest> {
    let version = parts.version;
    let mut lines = parts.headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(InvalidRequest::Host);
    }
    let line = line
        .map(|line| line.to_str().map_err(|_ignored: http::header::ToStrError| InvalidRequest::Host))
        .transpose()?;
    let said = line.map(parse_authority).transpose()?;
    let targeted =
        parts.uri.authority().map(|authority: &Authority| parse_authority(authority.as_str())).transpose()?;
    match (targeted, said) {
        (Some(targeted), Some(said)) if targeted != said => Err(InvalidRequest::HostMismatch),
        // HTTP/1.1 demands Host even beside an absolute target.
        (Some(_), None) if version == Version::HTTP_11 => Err(InvalidRequest::Host),
        (Some(targeted), _) => Ok(targeted),
        (None, Some(said)) => Ok(said),
        (None, None) if version < Version::HTTP_11 => {
            let address = SocketAddr::new(connection.local.ip().to_canonical(), connection.local.port());
            parse_authority(&address.to_string())
        }
        (None, None) => Err(InvalidRequest::Host),
    }
}

pub(super) fn parse_authority(text: &str) -> Result<(Hostname, Option<u16>), InvalidRequest> {
    let bad = || InvalidRequest::Host;
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (_, tail) = text.split_at_checked(after_bracket).ok_or_else(bad)?;
    let (host, port) = match tail.rfind(':') {
        None => (text, None),
        Some(colon) => {
            let (host, port) = text.split_at_checked(after_bracket + colon).ok_or_else(bad)?;
            let digits = port.strip_prefix(':').ok_or_else(bad)?;
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            // An empty port is that of the scheme (RFC 3986 section 3.2.3).
            let number = (!digits.is_empty()).then(|| digits.parse()).transpose();
            (host, number.map_err(|_ignored: std::num::ParseIntError| InvalidRequest::Host)?)
        }
    };
    Ok((Hostname::parse(host).map_err(|_ignored: portreeve_policy::InvalidHostname| InvalidRequest::Host)?, port))
}

/// Whether there are more fields than a request may have. HTTP/2 clients send cookies one by one (RFC 9113 section
/// 8.2.3), so that those count apart.
fn has_too_many(headers: &HeaderMap) -> bool {
    if headers.len() <= MAX_FIELDS {
        return false;
    }
    let cookies = headers.get_all(COOKIE).iter().count();
    cookies > MAX_COOKIES || headers.len().saturating_sub(cookies) > MAX_FIELDS
}

/// Whether path and field values are of the form that HTTP/2 demands.
fn is_well_formed(parts: &Parts) -> bool {
    let path = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let edged = |value: &HeaderValue| blank(value.as_bytes().first()) || blank(value.as_bytes().last());
    (path.starts_with('/') || path == "*") && !parts.headers.values().any(edged)
}

/// Whether a head of HTTP/2 is larger than a request may bring, counted as RFC 9113 section 6.5.2 counts. The parser takes
/// twice as much, so that the refusal is ours and recorded.
fn is_too_large(parts: &Parts) -> bool {
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields.fold(target, usize::saturating_add) > MAX_HEAD_H2
}

/// Names that differ from a framing field only in `_` for `-` (H2).
fn imitates_framing(name: &http::HeaderName) -> bool {
    let text = name.as_str();
    text.contains('_') && matches!(text.replace('_', "-").as_str(), "transfer-encoding" | "content-length" | "host")
}

/// RFC 3986 section 3.4, and the few more that browsers send raw.
fn legal_in_query(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'<' | b'>')
}

#[cfg(test)]
mod tests;
