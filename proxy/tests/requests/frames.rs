//! HTTP/2 as frames, for what no client library would say.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall say so by panicking, and lives in real time"
)]

use std::{
    convert::Infallible,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;

use crate::fixture::{Fixture, open_rule};

pub(crate) const HEADERS: u8 = 1;
const DATA: u8 = 0;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A connection of frames.
pub(crate) struct Frames(pub(crate) TcpStream);

impl Frames {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut this = Self(stream);
        this.send(4, 0, 0, &[]);
        this
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        // The other side may have closed the connection already.
        drop(self.0.write_all(&frame));
    }

    /// Fields as literals without index and without Huffman coding (RFC 7541 section 6.2.2): any bytes.
    pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text);
            }
        }
        block
    }

    /// Every byte that comes until the other side has answered and is silent, or is gone. A machine that is busy gets time
    /// to answer.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        self.read_while(|seen, silent| !silent || !is_answered(seen))
    }

    /// Every byte that comes until these have.
    pub(crate) fn read_until(&mut self, wanted: &[u8]) -> Vec<u8> {
        self.read_while(|seen, _| !seen.windows(wanted.len()).any(|window| window == wanted))
    }

    /// Whether the other side ends the connection.
    pub(crate) fn ends(&mut self) -> bool {
        self.read_while(|_, _| true);
        let end = self.0.read(&mut [0; 1]);
        end.as_ref().is_ok_and(|count| *count == 0) || end.is_err_and(|error| !would_wait(&error))
    }

    /// `goes_on` is asked with what came so far, and whether nothing came for a while.
    fn read_while(&mut self, goes_on: impl Fn(&[u8], bool) -> bool) -> Vec<u8> {
        let (mut seen, mut buffer) = (Vec::new(), [0; 8192]);
        let start = Instant::now();
        let mut silent = false;
        while goes_on(&seen, silent) && start.elapsed() < PATIENCE {
            match self.0.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    seen.extend_from_slice(&buffer[..count]);
                    silent = false;
                }
                Err(error) if would_wait(&error) => silent = true,
                Err(_) => break,
            }
        }
        seen
    }
}

/// Whether there is a frame that answers: HEADERS, RST_STREAM or GOAWAY.
fn is_answered(seen: &[u8]) -> bool {
    let mut rest = seen;
    while let [a, b, c, kind, ..] = rest {
        if matches!(kind, 1 | 3 | 7) {
            return true;
        }
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        rest = rest.get(length + 9..).unwrap_or_default();
    }
    false
}

fn would_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// Time for an answer on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const GET: [(&[u8], &[u8]); 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/x")];

/// What cannot be said in HTTP/1 is never translated to it (RFC 9113 sections 8.1.1, 8.2.1, 8.2.2, 8.3, 10.3).
#[test]
fn f6_malformed_http2_requests_never_become_http1_requests() {
    let fixture = Fixture::start(&json!([open_rule("all", "/")]));
    let with = |name: &'static [u8], value: &'static [u8]| {
        let mut fields = GET.to_vec();
        fields.push((name, value));
        fields
    };
    let instead = |name: &[u8], value: &'static [u8]| {
        let mut fields = GET.to_vec();
        fields.iter_mut().filter(|(held, _)| *held == name).for_each(|field| field.1 = value);
        fields
    };
    for fields in [
        with(b"x-a\r\nx-evil", b"1"),
        with(b"x-a", b"1\r\nx-evil: 1"),
        with(b"x-a", b"1\nx-evil: 1"),
        with(b"x-a", b"1\0"),
        with(b"x-a:b", b"1"),
        with(b"x a", b"1"),
        with(b"", b"1"),
        with(b"X-Upper", b"1"),
        with(b"connection", b"close"),
        with(b"transfer-encoding", b"chunked"),
        with(b"keep-alive", b"1"),
        with(b"upgrade", b"h2c"),
        with(b"te", b"gzip"),
        with(b"content-length", b"5"),
        with(b"content-length", b"+0"),
        with(b"host", b"evil"),
        with(b":path", b"/y"),
        with(b":unknown", b"1"),
        with(b":status", b"200"),
        instead(b":path", b"x"),
        instead(b":path", b""),
        instead(b":path", b"/x HTTP/1.1\r\nHost: evil\r\n\r\nGET /y"),
        instead(b":path", b"/a/../x"),
        instead(b":method", b"GET /y HTTP/1.1\r\n"),
        instead(b":authority", b"a\r\nx-evil: 1"),
        instead(b":authority", b"u@a"),
        GET[1..].to_vec(),
        GET[..3].to_vec(),
        vec![GET[0], GET[1], GET[3]],
    ] {
        let mut frames = Frames::open(fixture.listen());
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &Frames::block(&fields));
        frames.read();
        let told: Vec<_> =
            fields.iter().map(|(n, v)| (String::from_utf8_lossy(n), String::from_utf8_lossy(v))).collect();
        assert_eq!(fixture.app_log(), Vec::<String>::new(), "{told:?}");
    }
    let mut frames = Frames::open(fixture.listen());
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &Frames::block(&GET));
    frames.read();
    assert_eq!(fixture.app_log().len(), 1, "the request itself is good");
}

/// An application that speaks HTTP/2 and notes the trailers that it gets.
async fn trailers_app(seen: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = Arc::clone(&seen);
                async move {
                    let body = request.into_body().collect().await.unwrap();
                    let trailers = body.trailers().cloned().unwrap_or_default();
                    let mut told = seen.lock().unwrap();
                    told.push("request".to_owned());
                    told.extend(trailers.keys().map(ToString::to_string));
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            drop(tokio::spawn(connection.serve_connection(TokioIo::new(stream), service)));
        }
    }));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_p6_trailers_of_a_request_pass_from_a_list_on_both_versions() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let app = trailers_app(Arc::clone(&seen)).await;
    let fixture = Fixture::start_before(app.port(), "Http2", &[]);
    let hostile: [&str; 11] = [
        "authorization",
        "host",
        "forwarded",
        "portreeve-subject",
        "content-length",
        "x-forwarded-for",
        "client-cert",
        "x-real-ip",
        "cookie",
        "x-tenant",
        "x_real_ip",
    ];
    for trailer in hostile {
        seen.lock().unwrap().clear();
        let mut frames = Frames::open(fixture.listen());
        let post: Vec<_> = GET.iter().map(|(n, v)| (*n, if *n == b":method" { &b"POST"[..] } else { *v })).collect();
        frames.send(HEADERS, END_HEADERS, 1, &Frames::block(&post));
        frames.send(DATA, 0, 1, b"hi");
        let block = Frames::block(&[(trailer.as_bytes(), b"1"), (b"grpc-status", b"0")]);
        frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        frames.read();
        let told = seen.lock().unwrap().clone();
        assert!(!told.contains(&trailer.to_owned()), "HTTP/2 {trailer}: {told:?}");
        assert!(told.is_empty() || told.contains(&"grpc-status".to_owned()), "HTTP/2 {trailer}: {told:?}");

        seen.lock().unwrap().clear();
        let chunks = format!("2\r\nhi\r\n0\r\n{trailer}: 1\r\ngrpc-status: 0\r\n\r\n");
        let mut client = fixture.connect();
        client.write(&format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        client.closes_within(Duration::from_secs(2));
        let told = seen.lock().unwrap().clone();
        assert!(!told.contains(&trailer.to_owned()), "HTTP/1 {trailer}: {told:?}");
    }
}
