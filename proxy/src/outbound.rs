//! The one way out of the proxy beside its upstream: calls to endpoints that objects name. Addresses are checked after
//! resolution and pinned; redirects are not followed; answers are capped (J14, I7).

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use portreeve_policy::{AddressRange, ClientAuthenticationMethod, EndpointAccess, Secret};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tower::Service;

use crate::{
    bulkhead::{Bulkhead, Place, Turn},
    peer::Peer,
};

/// Connections that are kept when nothing is asked.
const MAX_IDLE: usize = 16;

/// Largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Why an endpoint cannot be called at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// An address that is never called, or only by leave of the installation.
    #[error("the endpoint is at an address that may not be called")]
    Address,
    /// The bundle is not PEM, or holds no certificate.
    #[error("the certificate authorities are not readable")]
    Authorities,
    /// Not a private key or a certificate that the gateway can authenticate with.
    #[error("the gateway's own private key or certificate is not usable")]
    ClientKey,
    /// Not an absolute http or https URL.
    #[error("the endpoint is not an absolute http or https URL")]
    Url,
}

/// What went wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFault {
    Connect,
    Timeout,
    TooLarge,
}

/// Where calls to endpoints go.
#[derive(Clone, Default)]
pub enum Network {
    /// To the endpoint's address.
    #[default]
    Sockets,
    /// To a value of this process: what policies decide can be tried where no endpoint is.
    InProcess(Arc<dyn Endpoints>),
}

/// Answers in place of endpoints.
pub trait Endpoints: Send + Sync {
    /// The answer to a POST; `None` as if nobody listened.
    fn answer(&self, request: Request<String>) -> Option<Response<Bytes>>;
}

/// A guarded HTTP client for one endpoint.
#[derive(Clone)]
pub(crate) struct Outbound {
    client: Carrier,
    endpoint: Uri,
    timeout: Duration,
    bulkhead: Arc<Bulkhead>,
}

#[derive(Clone)]
enum Carrier {
    Sockets(Box<Client<HttpsConnector<HttpConnector<GuardedResolver>>, Full<Bytes>>>),
    InProcess(Arc<dyn Endpoints>),
}

/// Resolves names and leaves out what may not be called.
#[derive(Clone, Copy)]
struct GuardedResolver(AddressRange);

impl Outbound {
    /// A client of this endpoint; with a method that wants it, `secret` is certificate chain and key.
    pub(crate) fn new(access: &EndpointAccess, secret: &Secret, network: &Network) -> Result<Self, InvalidEndpoint> {
        let EndpointAccess { endpoint, client, ca_certificates, addresses, timeout } = access;
        let identity = (client.method == ClientAuthenticationMethod::TlsClientAuth).then_some(secret);
        Self::connect(endpoint, ca_certificates, *addresses, timeout.duration(), identity, network)
    }

    /// A client of this endpoint.
    pub(crate) fn connect(
        endpoint: &str,
        ca_certificates: &str,
        addresses: AddressRange,
        timeout: Duration,
        identity: Option<&Secret>,
        network: &Network,
    ) -> Result<Self, InvalidEndpoint> {
        let endpoint: Uri = endpoint.parse().map_err(|_ignored: http::uri::InvalidUri| InvalidEndpoint::Url)?;
        let host = endpoint.host().ok_or(InvalidEndpoint::Url)?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) {
            return Err(InvalidEndpoint::Url);
        }
        // A literal address never passes through the resolver.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if literal.is_ok_and(|address| !addresses.admits(address)) {
            return Err(InvalidEndpoint::Address);
        }
        let bulkhead = Bulkhead::of_endpoint(&endpoint.to_string());
        if let Network::InProcess(endpoints) = network {
            return Ok(Self { client: Carrier::InProcess(Arc::clone(endpoints)), endpoint, timeout, bulkhead });
        }
        let mut http = HttpConnector::new_with_resolver(GuardedResolver(addresses));
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        let tls = ClientConfig::builder().with_root_certificates(roots(ca_certificates)?);
        let tls = match identity {
            None => tls.with_no_client_auth(),
            Some(pem) => {
                let (chain, key) = pair(pem)?;
                tls.with_client_auth_cert(chain, key).map_err(|_ignored: rustls::Error| InvalidEndpoint::ClientKey)?
            }
        };
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(MAX_IDLE)
            .build(https);
        Ok(Self { client: Carrier::Sockets(Box::new(client)), endpoint, timeout, bulkhead })
    }

    /// Takes a place among the questions to this endpoint, before anything is done for one.
    pub(crate) fn enter(&self, asker: Peer) -> Option<Place> {
        self.bulkhead.enter(asker)
    }

    /// Waits for the turn, as long as for an answer.
    pub(crate) async fn turn(&self, place: Place) -> Option<Turn> {
        place.turn(self.timeout).await
    }

    /// Sends a POST to the endpoint and reads the whole answer, within one time limit.
    pub(crate) async fn post(
        &self,
        _: &Turn,
        request: http::request::Builder,
        body: String,
    ) -> Result<Response<Bytes>, CallFault> {
        let request = request.method("POST").uri(self.endpoint.clone()).body(body);
        let request: Request<_> = request.map_err(|_ignored: http::Error| CallFault::Connect)?;
        let client = match &self.client {
            Carrier::Sockets(client) => client,
            Carrier::InProcess(endpoints) => return endpoints.answer(request).ok_or(CallFault::Connect),
        };
        let exchange = async {
            let answer = client
                .request(request.map(Full::from))
                .await
                .map_err(|_ignored: hyper_util::client::legacy::Error| CallFault::Connect)?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|fault| {
                if fault.is::<http_body_util::LengthLimitError>() { CallFault::TooLarge } else { CallFault::Connect }
            })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(CallFault::Timeout))
    }
}

/// The given authorities, or the machine's when there are none.
fn roots(pem: &str) -> Result<RootCertStore, InvalidEndpoint> {
    let mut roots = RootCertStore::empty();
    if pem.is_empty() {
        for path in ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"] {
            let found = CertificateDer::pem_file_iter(path).into_iter().flatten().flatten();
            roots.add_parsable_certificates(found);
        }
        return Ok(roots);
    }
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_ignored: rustls_pki_types::pem::Error| InvalidEndpoint::Authorities)?;
        roots.add(certificate).map_err(|_ignored: rustls::Error| InvalidEndpoint::Authorities)?;
    }
    if roots.is_empty() { Err(InvalidEndpoint::Authorities) } else { Ok(roots) }
}

/// Certificate chain and private key from one text in PEM.
fn pair(pem: &Secret) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), InvalidEndpoint> {
    let unusable = |_: rustls_pki_types::pem::Error| InvalidEndpoint::ClientKey;
    let chain = CertificateDer::pem_slice_iter(pem.expose()).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(unusable)?;
    Ok((chain, key))
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let range = self.0;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // One forbidden address spoils the name: a mix is how rebinding looks.
            if found.is_empty() || !found.iter().all(|address| range.admits(address.ip())) {
                return Err(io::Error::other("no address that may be called"));
            }
            Ok(found.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_literal_addresses_broken_urls_and_broken_bundles_m3() {
        let make = |url, pem| {
            Outbound::connect(url, pem, AddressRange::Public, Duration::from_secs(1), None, &Network::Sockets).err()
        };
        assert_eq!(make("https://169.254.169.254/x", ""), Some(InvalidEndpoint::Address));
        assert_eq!(make("https://[::1]/x", ""), Some(InvalidEndpoint::Address));
        assert_eq!(make("ftp://host/x", ""), Some(InvalidEndpoint::Url));
        assert_eq!(make("/x", ""), Some(InvalidEndpoint::Url));
        assert_eq!(make("https://host/x", "rubbish"), Some(InvalidEndpoint::Authorities));
    }
}
