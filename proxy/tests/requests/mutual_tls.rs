//! The gateway authenticates at the token service by the certificate of its TLS connection (RFC 8705 section 2).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::json;

use crate::{
    possession::{Authority, authority},
    setup::Setup,
};

/// A certificate for one use, and its key.
fn issued(authority: &Authority, usage: ExtendedKeyUsagePurpose) -> (CertificateDer<'static>, KeyPair, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.extended_key_usages = vec![usage];
    params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
    (certificate.der().clone(), key, pem)
}

/// An introspection endpoint that speaks only with clients of an authority; gives its port, and what it was asked.
fn endpoint(server: &Authority, clients: &Authority) -> (u16, Arc<Mutex<Vec<String>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let (certificate, key, _) = issued(server, ExtendedKeyUsagePurpose::ServerAuth);
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    let (config, asked) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, notes) = (listener.local_addr().unwrap().port(), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client without a good certificate ends the handshake, and this turn.
            drop(answer(StreamOwned::new(session, stream.unwrap()), &notes));
        }
    });
    (port, asked)
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("token=") {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        text.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
    }
    note(asked, text);
    let body = r#"{"active":true,"aud":"orders","sub":"ada"}"#;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn note(asked: &Mutex<Vec<String>>, text: String) {
    asked.lock().unwrap().push(text);
}

#[test]
fn the_certificate_of_the_connection_is_the_gateways_credential() {
    let (server, ours, others) = (authority(), authority(), authority());
    let (port, asked) = endpoint(&server, &ours);
    let service = |trusted: &Authority| {
        json!({
            "issuer": "https://login.example.com", "keys": "unavailable", "exchange": "disabled",
            "introspection": {"enabled": {
                "access": {
                    "endpoint": format!("https://127.0.0.1:{port}/introspect"), "caCertificates": trusted.pem,
                    "addresses": "PrivateAndPublic", "timeout": 2000,
                    "client": {"clientId": "gateway", "secret": "default/login#tls.pem", "method": "TlsClientAuth"},
                },
                "dialect": "Json",
                "cache": {"maxTtl": 1000, "negativeTtl": 300, "maxBytes": 65_536, "stale": "never"},
            }},
        })
    };
    let rule = json!([{"allOf": [{"introspection": {
        "tokenService": "default/login", "audiences": ["orders"], "upstreamToken": "none",
        "proof": {"required": [], "dpopNonce": false},
    }}]}]);
    for (case, clients, trusted, status) in [
        ("ours", &ours, &server, 200),
        ("a certificate of another authority", &others, &server, 503),
        ("a server of another authority", &ours, &others, 503),
    ] {
        let (_, _, pem) = issued(clients, ExtendedKeyUsagePurpose::ClientAuth);
        let fixture = Setup::default()
            .service("default/login", service(trusted))
            .secret("default/login#tls.pem", &pem)
            .rule("r", &rule)
            .start();
        let reply = fixture.send("GET /r HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer opaque\r\n\r\n");
        assert_eq!(reply.status, status, "{case}: {}", reply.body);
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "who is not known never gets to ask");
    let question = asked.join("");
    // The client is named (RFC 8705 section 2), and there is no other credential.
    assert!(question.contains("client_id=gateway") && !question.contains("secret"), "{question}");
    assert!(!question.to_lowercase().contains("authorization:"), "{question}");
}
