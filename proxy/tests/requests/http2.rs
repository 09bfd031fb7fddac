//! HTTP/2 on both sides, and TLS with a certificate that changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so by panicking")]

use std::{convert::Infallible, fs, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

use serde_json::json;

use crate::{
    fixture::{Fixture, Signer, jwt_access, open_rule},
    frames::Frames,
};

type Sender = SendRequest<Empty<Bytes>>;

async fn speak(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    drop(tokio::spawn(connection));
    sender
}

async fn ask(sender: &mut Sender, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// An application that speaks HTTP/2 only and says what it was asked.
async fn h2_app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                let text = format!("{:?} {} {:?}", request.version(), request.uri(), request.headers());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    }));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_reaches_an_http1_application() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[]);
    let mut sender = speak(TcpStream::connect(fixture.listen()).await.unwrap()).await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
    assert_eq!(ask(&mut sender, "http://orders.example.com/x", &crumbs).await, (200, "hello".to_owned()));
    let seen = back.app_log().pop().unwrap();
    for line in ["GET /x HTTP/1.1", "host: orders.example.com", "cookie: a=1; b=2", "via: 2.0 portreeve"] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    // A Host beside another authority is refused (RFC 9113 section 8.3.1).
    let (status, _) = ask(&mut sender, "http://orders.example.com/x", &[("host", "evil.example.com")]).await;
    assert_eq!((status, back.app_log().len()), (400, 1));
}

/// A request over HTTP/2 may hold no more than one over HTTP/1, and a connection not many at a time.
#[tokio::test(flavor = "multi_thread")]
async fn h3_http2_requests_have_the_bounds_of_http1() {
    let back = Fixture::start_empty();
    let fixture = Fixture::start_before(back.app_port(), "Http1", &[]);
    let mut sender = speak(TcpStream::connect(fixture.listen()).await.unwrap()).await;
    let target = "http://orders.example.com/x";
    let names: Vec<String> = (0..120).map(|number| format!("x-{number}")).collect();
    let fields = |count: usize| names.iter().take(count).map(|name| (name.as_str(), "")).collect::<Vec<_>>();
    assert_eq!(ask(&mut sender, target, &fields(90)).await.0, 200);
    let (status, body) = ask(&mut sender, target, &fields(101)).await;
    assert!(status == 431 && body.contains("head_too_large") && body.contains("decision_id"), "{status} {body}");
    assert_eq!(ask(&mut sender, target, &vec![("cookie", "a=b"); 150]).await.0, 200);
    assert_eq!(ask(&mut sender, target, &vec![("cookie", "a=b"); 181]).await.0, 431);
    let long = "x".repeat(3000);
    assert_eq!(ask(&mut sender, target, &[("x-a", &long), ("x-b", &long)]).await.0, 200);
    let mut request = Request::get(target);
    for name in names.iter().take(12) {
        request = request.header(name, &long);
    }
    let answer = sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 431, "more than 32 KiB");
    assert_eq!(back.app_log().len(), 3);
    assert_eq!(fixture.record("head_too_large")["status"], 431);

    // SETTINGS_MAX_CONCURRENT_STREAMS and SETTINGS_MAX_HEADER_LIST_SIZE, as they are said to every client. The parser takes
    // twice what a request may bring, so that the refusal is told and recorded.
    let said = Frames::open(fixture.listen()).read_until(&[0, 6, 0, 1, 0, 0]);
    for setting in [[0, 3, 0, 0, 0, 32], [0, 6, 0, 1, 0, 0]] {
        assert!(said.windows(6).any(|six| six == setting), "{setting:?} in {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_bomb_of_fields_ends_the_connection() {
    let fixture = Fixture::start_empty();
    let mut frames = Frames::open(fixture.listen());
    // Each byte is a field of the static table, `accept-encoding: gzip, deflate`.
    let block = [&[0x82, 0x87, 0x84, 0x41, 1, b'a'], vec![0x90; 16_000].as_slice()].concat();
    frames.send(1, 0x5, 1, &block);
    assert!(frames.ends());
}

/// What a browser does: a preflight without credentials, then the request with its token, both as streams of one
/// connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_brings_its_bearer_token_over_http2_after_a_preflight_c1() {
    let signer = Signer::new();
    let mut rule = open_rule("r", "/r");
    rule["state"] = jwt_access("orders:read");
    let fixture = Fixture::start_route(&json!([rule]), Some(&signer), &json!({"cors": "passthrough"}));
    let mut sender = speak(TcpStream::connect(fixture.listen()).await.unwrap()).await;
    let preflight = Request::options("http://orders.example.com/r/7")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    let answer = sender.send_request(preflight.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "authentication never stands in a preflight's way");
    let refused = Request::get("http://orders.example.com/r/7").body(Empty::new()).unwrap();
    let refused = sender.send_request(refused).await.unwrap();
    let challenge = refused.headers().get("www-authenticate").unwrap().to_str().unwrap().to_owned();
    assert!(refused.status() == 401 && challenge.contains("Bearer"), "{challenge}");
    let authorization = format!("Bearer {}", signer.token("orders:read", "orders"));
    let bearer = [("authorization", authorization.as_str()), ("origin", "https://app.example.com")];
    let mut together = [sender.clone(), sender.clone()];
    let [first, second] = &mut together;
    let target = "http://orders.example.com/r/7";
    let both = tokio::join!(ask(first, target, &bearer), ask(second, target, &bearer));
    assert_eq!((both.0.0, both.1.0), (200, 200));
    assert_eq!(fixture.app_log().len(), 3, "the preflight and both requests, not the refused one");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_application_gets_http2() {
    let app = h2_app().await;
    let fixture = Fixture::start_before(app.port(), "Http2", &[]);
    let mut sender = speak(TcpStream::connect(fixture.listen()).await.unwrap()).await;
    let (status, seen) = ask(&mut sender, "http://orders.example.com:8080/x?y=1", &[]).await;
    assert_eq!(status, 200);
    assert!(seen.starts_with(&format!("{:?} http://orders.example.com:8080/x?y=1", Version::HTTP_2)), "{seen}");
    assert!(seen.contains("x-forwarded-host") && seen.contains("x-forwarded-port"), "{seen}");
    let reply = fixture.get("/from-http1");
    assert!(reply.status == 200 && reply.body.starts_with("HTTP/2.0 http://a/from-http1"), "{}", reply.body);
}

fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// The certificate that the listener shows, and the protocol that was agreed.
async fn shake(address: SocketAddr, pem: &str, name: &'static str) -> Option<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name.try_into().unwrap(), stream).await.ok()?;
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let mut sender = speak(stream).await;
    let (status, _) = ask(&mut sender, "https://orders.example.com/tls", &[]).await;
    assert_eq!(status, 200);
    agreed
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_agrees_on_http2_and_takes_up_a_new_certificate() {
    let folder = std::env::temp_dir().join(format!("portreeve-tls-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (cert_file, key_file) = (folder.join("tls.crt"), folder.join("tls.key"));
    let (first, key) = certificate("orders.example.com");
    fs::write(&cert_file, &first).unwrap();
    fs::write(&key_file, key).unwrap();
    let back = Fixture::start_empty();
    let settings =
        [("PORTREEVE_TLS_CERT", cert_file.to_str().unwrap()), ("PORTREEVE_TLS_KEY", key_file.to_str().unwrap())];
    let fixture = Fixture::start_before(back.app_port(), "Http1", &settings);
    assert_eq!(shake(fixture.listen(), &first, "orders.example.com").await.as_deref(), Some(&b"h2"[..]));
    assert!(back.app_log().pop().unwrap().contains("forwarded: for=127.0.0.1;host=orders.example.com;proto=https"));

    // A broken new certificate changes nothing (M3).
    fs::write(&cert_file, "rubbish").unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(shake(fixture.listen(), &first, "orders.example.com").await.is_some());

    let (second, key) = certificate("orders.example.com");
    fs::write(&key_file, key).unwrap();
    fs::write(&cert_file, &second).unwrap();
    let mut taken_up = false;
    for _ in 0..50 {
        taken_up = shake(fixture.listen(), &second, "orders.example.com").await.is_some();
        if taken_up {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(taken_up, "the new certificate was not taken up");
    drop(fs::remove_dir_all(&folder));
}
