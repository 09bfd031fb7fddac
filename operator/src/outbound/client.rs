//! The one HTTP client for token services.

use std::{error::Error as _, fs, sync::Arc, time::Duration};

use portreeve_compiler::Options;
use portreeve_policy::AddressRange;
use portreeve_registration::{Delivery, MAX_ANSWER, Transport, TransportError};
use reqwest::{Client, redirect};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;

use super::guard::{AddressRefused, GuardedResolver, check_literal};

/// Time for connecting, asking and reading the answer together.
const WITHIN: Duration = Duration::from_secs(5);

/// Largest metadata document or key set, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Where distributions keep the authorities that the machine trusts.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A client for one token service.
#[derive(Clone)]
pub(crate) struct SsrfGuardedClient {
    client: Client,
    options: Options,
}

/// What went wrong, in words that hold nothing of the server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallFault {
    /// The bundle is not PEM, or holds no usable certificate.
    #[error("the certificate authorities are not readable")]
    Authorities,
    /// Our own guard refused the address.
    #[error("its address may not be called; --allow-private-addresses allows private ones")]
    Blocked,
    /// No connection, but for what the other variants say.
    #[error("cannot connect")]
    Connect,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The name has no address.
    #[error("its name does not resolve")]
    Resolve,
    /// Not https.
    #[error("only https is allowed; --allow-http allows http")]
    Scheme,
    /// Any status but 200.
    #[error("answered {0}")]
    Status(u16),
    /// The time limit.
    #[error("timed out")]
    Timeout,
    /// The certificate does not hold.
    #[error("its certificate is not trusted; see spec.trust")]
    Tls,
    /// The bound on answers.
    #[error("larger than {} KiB", .0 / 1024)]
    TooLarge(usize),
    /// The connection broke after the request was sent.
    #[error("the connection broke")]
    Broken,
    /// Not a URL.
    #[error("not a URL")]
    Url,
}

impl CallFault {
    /// For a status, which people can read who may not scan our network: where private addresses may be called, an open
    /// port, a closed one and one behind a filter look the same. The log has the difference.
    pub(super) fn told(self, options: Options) -> String {
        match options.addresses {
            AddressRange::Public => self.to_string(),
            AddressRange::PrivateAndPublic => "no usable answer; the operator's log says why".to_owned(),
        }
    }
}

impl SsrfGuardedClient {
    /// A client that trusts the machine's authorities and those of the bundle (PEM; may be empty).
    pub(crate) fn new(ca_certificates: &str, options: Options) -> Result<Self, CallFault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_fault| CallFault::Authorities)?
            .with_root_certificates(roots(ca_certificates)?)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Arc::new(GuardedResolver(options.addresses)))
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(WITHIN)
            .timeout(WITHIN)
            .https_only(!options.allow_http)
            .user_agent(concat!("portreeve/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_fault| CallFault::Authorities)?;
        Ok(Self { client, options })
    }

    /// Reads a metadata document (RFC 8414 section 3.2); only 200 counts.
    pub(crate) async fn read(&self, url: &str) -> Result<Vec<u8>, CallFault> {
        self.read_as(url, "application/json").await
    }

    /// Reads a key set. Its registered media type is asked for first (RFC 7517 section 8.5.2), then what most servers
    /// send; what the answer calls itself does not matter, for it must parse.
    pub(crate) async fn read_key_set(&self, url: &str) -> Result<Vec<u8>, CallFault> {
        self.read_as(url, "application/jwk-set+json, application/json;q=0.9, */*;q=0.1").await
    }

    async fn read_as(&self, url: &str, accept: &str) -> Result<Vec<u8>, CallFault> {
        let url = self.check(url)?;
        let request = self.client.get(url).header("accept", accept);
        let answer = request.send().await.map_err(|fault| fault_of(&fault))?;
        if answer.status().as_u16() != 200 {
            return Err(CallFault::Status(answer.status().as_u16()));
        }
        body(answer, MAX_DOCUMENT).await
    }

    fn check(&self, url: &str) -> Result<Url, CallFault> {
        let url = Url::parse(url).map_err(|_fault| CallFault::Url)?;
        if url.scheme() != "https" && !(self.options.allow_http && url.scheme() == "http") {
            return Err(CallFault::Scheme);
        }
        check_literal(&url, self.options.addresses).map_err(|AddressRefused| CallFault::Blocked)?;
        Ok(url)
    }

    async fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, CallFault> {
        let (parts, content) = request.into_parts();
        let url = self.check(&parts.uri.to_string())?;
        let request = self.client.request(parts.method, url).headers(parts.headers).body(content);
        let answer = request.send().await.map_err(|fault| fault_of(&fault))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = http::Response::new(body(answer, MAX_ANSWER).await?);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

impl Transport for SsrfGuardedClient {
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
        self.exchange(request).await.map_err(|fault| {
            let delivery = match fault {
                CallFault::Authorities | CallFault::Blocked | CallFault::Scheme | CallFault::Url => Delivery::Blocked,
                CallFault::Connect | CallFault::Refused | CallFault::Resolve | CallFault::Tls => Delivery::NotSent,
                CallFault::Broken | CallFault::Status(_) | CallFault::Timeout | CallFault::TooLarge(_) => {
                    Delivery::Unknown
                }
            };
            tracing::debug!(%fault, "a call of the registration endpoint failed");
            TransportError::new(delivery, &fault.told(self.options))
        })
    }
}

async fn body(mut answer: reqwest::Response, limit: usize) -> Result<Vec<u8>, CallFault> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|fault| fault_of(&fault))? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(CallFault::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The library's texts may hold addresses and worse, so its errors become ours.
fn fault_of(fault: &reqwest::Error) -> CallFault {
    let mut cause = fault.source();
    let mut refused = None;
    while let Some(error) = cause {
        if error.is::<AddressRefused>() {
            return CallFault::Blocked;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let own = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
            if own {
                return CallFault::Tls;
            }
            if error.kind() == std::io::ErrorKind::ConnectionRefused {
                refused = Some(CallFault::Refused);
            }
        }
        if error.is::<rustls::Error>() {
            return CallFault::Tls;
        }
        if error.to_string().contains("dns error") {
            refused.get_or_insert(CallFault::Resolve);
        }
        cause = error.source();
    }
    if fault.is_timeout() {
        return if fault.is_connect() { CallFault::Connect } else { CallFault::Timeout };
    }
    match refused {
        Some(refused) if fault.is_connect() => refused,
        Some(_) | None if fault.is_connect() => CallFault::Connect,
        Some(_) | None => CallFault::Broken,
    }
}

/// The machine's authorities and the given ones. A broken bundle is a fault, never ignored (M3).
fn roots(pem: &str) -> Result<RootCertStore, CallFault> {
    let mut roots = RootCertStore::empty();
    for path in SYSTEM_AUTHORITIES.iter().filter(|path| fs::exists(path).unwrap_or(false)).take(1) {
        roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).into_iter().flatten().flatten());
    }
    let mut given = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_fault| CallFault::Authorities)?).map_err(|_fault| CallFault::Authorities)?;
        given += 1;
    }
    if pem.is_empty() || given > 0 { Ok(roots) } else { Err(CallFault::Authorities) }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const DEVELOPMENT: Options = Options { allow_http: true, addresses: AddressRange::PrivateAndPublic };

    async fn answering(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    drop(stream.read(&mut buffer).await);
                    drop(stream.write_all(&answer).await);
                });
            }
        });
        format!("http://{address}/x")
    }

    async fn read(answer: &str) -> Result<Vec<u8>, CallFault> {
        let url = answering(answer.as_bytes().to_vec()).await;
        SsrfGuardedClient::new("", DEVELOPMENT).unwrap().read(&url).await
    }

    #[tokio::test]
    async fn reads_only_what_is_allowed_j14() {
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await, Ok(b"{}".to_vec()));
        let moved = "HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(read(moved).await, Err(CallFault::Status(302)));
        let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n{}", "x".repeat(2_000_000));
        assert_eq!(read(&huge).await, Err(CallFault::TooLarge(MAX_DOCUMENT)));
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}").await, Err(CallFault::Broken));
        let client = SsrfGuardedClient::new("", DEVELOPMENT).unwrap();
        assert_eq!(client.read("http://127.0.0.1:1/x").await, Err(CallFault::Refused));
        assert_eq!(client.read("http://169.254.169.254/x").await, Err(CallFault::Blocked));
        assert_eq!(client.read("http://no-such-host.invalid/x").await, Err(CallFault::Resolve));
    }

    #[tokio::test]
    async fn production_takes_neither_http_nor_private_addresses() {
        let client =
            SsrfGuardedClient::new("", Options { allow_http: false, addresses: AddressRange::Public }).unwrap();
        assert_eq!(client.read("http://93.184.216.34/x").await, Err(CallFault::Scheme));
        assert_eq!(client.read("https://10.0.0.1/x").await, Err(CallFault::Blocked));
        assert_eq!(client.read("https://localhost/x").await, Err(CallFault::Blocked));
        assert_eq!(client.read("/x").await, Err(CallFault::Url));
    }

    #[test]
    fn l11_a_status_tells_no_ports_apart_where_private_addresses_may_be_called() {
        let public = Options { allow_http: false, addresses: AddressRange::Public };
        let faults = [
            CallFault::Refused,
            CallFault::Connect,
            CallFault::Timeout,
            CallFault::Broken,
            CallFault::Tls,
            CallFault::Resolve,
            CallFault::Status(404),
            CallFault::TooLarge(1),
        ];
        let told =
            |options| faults.map(|fault| fault.told(options)).into_iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!((told(DEVELOPMENT).len(), told(public).len()), (1, faults.len()));
    }

    #[test]
    fn a_broken_bundle_is_not_ignored_m3() {
        assert!(matches!(SsrfGuardedClient::new("rubbish", DEVELOPMENT), Err(CallFault::Authorities)));
    }
}
