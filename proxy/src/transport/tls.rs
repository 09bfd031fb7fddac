//! Certificate of the listener, read again when its files change. A broken new one leaves the old one in force (M3).

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use tokio_rustls::TlsAcceptor;

/// Where certificate chain and private key lie, in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Certificate chain, the own one first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTls {
    /// The certificate chain cannot be read.
    #[error("{}: no certificate chain in PEM", .0.display())]
    Certificate(PathBuf),
    /// The private key cannot be read; what stands in the file is not told.
    #[error("{}: no private key in PEM", .0.display())]
    Key(PathBuf),
    /// Key and certificate do not fit each other.
    #[error("certificate and key do not fit: {0}")]
    Pair(#[from] rustls::Error),
}

/// The certificate in force.
pub struct TlsSource {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

/// The listener in its two forms.
#[derive(Clone)]
pub struct Acceptors {
    /// Asks for no client certificate.
    pub plain: TlsAcceptor,
    /// Asks for one and goes on without; what it is worth is decided for each request (M2).
    pub asking: TlsAcceptor,
}

/// Protocols, the best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Takes any client certificate whose key the client has. Who issued it is asked by the rule that wants one.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn new() -> Self {
        Self(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms)
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

impl fmt::Debug for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSource").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsSource {
    /// Reads the files for the first time.
    pub fn open(files: TlsFiles) -> Result<Arc<Self>, InvalidTls> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Settings of the listener: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub fn acceptors(self: &Arc<Self>) -> Acceptors {
        let resolver = || -> Arc<dyn ResolvesServerCert> { Arc::<Self>::clone(self) };
        let mut plain = ServerConfig::builder().with_no_client_auth().with_cert_resolver(resolver());
        plain.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        let mut asking = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(AnyCertificate::new()))
            .with_cert_resolver(resolver());
        asking.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        // A resumed session would carry a certificate that was shown under older rules (M1): there are none.
        asking.session_storage = Arc::new(NoServerSessionStorage {});
        asking.send_tls13_tickets = 0;
        Acceptors { plain: TlsAcceptor::from(Arc::new(plain)), asking: TlsAcceptor::from(Arc::new(asking)) }
    }

    /// Reads the files again whenever they change; never ends.
    pub async fn watch(self: Arc<Self>) {
        let mut known = self.stamp();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let stamp = self.stamp();
            if stamp == known {
                continue;
            }
            known = stamp;
            match read(&self.files) {
                Ok(fresh) => {
                    self.current.store(Arc::new(fresh));
                    tracing::info!("certificate read again");
                }
                Err(fault) => tracing::error!(%fault, "the new certificate is not usable; the old one stays in force"),
            }
        }
    }

    fn stamp(&self) -> [Option<SystemTime>; 2] {
        [&self.files.certificate, &self.files.key]
            .map(|file| std::fs::metadata(file).and_then(|meta| meta.modified()).ok())
    }
}

impl ResolvesServerCert for TlsSource {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, InvalidTls> {
    let unreadable = |_: rustls_pki_types::pem::Error| InvalidTls::Certificate(files.certificate.clone());
    let chain = CertificateDer::pem_file_iter(&files.certificate).map_err(unreadable)?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(unreadable)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|_ignored: rustls_pki_types::pem::Error| InvalidTls::Key(files.key.clone()))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match()?;
    Ok(pair)
}
