//! An application to protect. It answers with what reached it, so that a test sees what the proxy sent on.
//!
//! | path | |
//! |---|---|
//! | `/slow?ms=N` | the usual answer, after N milliseconds |
//! | `/stream?chunks=N` | N chunks with pauses |
//! | `/ws` | switches protocols and echoes bytes |
//! | `/boom` | ends the connection within the answer |
//! | any other | JSON: method, path, query, headers, `body_bytes`, instance |

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, UPGRADE},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::say;

type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// Pause between two chunks of `/stream`.
const PAUSE: Duration = Duration::from_millis(50);

/// How long requests may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

/// Length that `/boom` promises and does not keep.
const BOOM_LENGTH: u64 = 100;

/// Serves HTTP/1.1, and HTTP/2 with prior knowledge, until `end` is over.
pub async fn serve(listener: TcpListener, instance: String, end: impl Future<Output = ()>) -> io::Result<()> {
    let instance: Arc<str> = instance.into();
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(end);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut end => break,
        };
        let instance = Arc::clone(&instance);
        let service = service_fn(move |request| logged(request, Arc::clone(&instance)));
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(fault) = watched.await {
                say(&format!("connection ended: {fault}"));
            }
        });
    }
    // What has not ended by then is cut.
    drop(timeout(DRAIN, graceful.shutdown()).await);
    Ok(())
}

async fn logged(request: Request<Incoming>, instance: Arc<str>) -> Result<Response<AnswerBody>, Infallible> {
    // Without query and headers: a log is no place for what may be a credential.
    let line = format!("{} {}", request.method(), request.uri().path());
    let response = answer(request, &instance).await;
    say(&format!("{line} {}", response.status().as_u16()));
    Ok(response)
}

async fn answer(request: Request<Incoming>, instance: &str) -> Response<AnswerBody> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match request.uri().path() {
        "/boom" => boom(),
        "/slow" => {
            sleep(Duration::from_millis(number(&query, "ms"))).await;
            echo(request, instance).await
        }
        "/stream" => chunks(number(&query, "chunks")),
        "/ws" => switch(request),
        _ => echo(request, instance).await,
    }
}

async fn echo(request: Request<Incoming>, instance: &str) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body did not arrive whole\n");
    };
    let told = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query().unwrap_or_default(),
        "headers": headers(&head.headers),
        "body_bytes": body.to_bytes().len(),
        "instance": instance,
    });
    let mut response = text(StatusCode::OK, &format!("{told}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// By name; a header that came more than once is a list, so that a test can tell.
fn headers(map: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned());
    let value = |name| {
        let mut values: Vec<_> = map.get_all(name).iter().map(text).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    };
    map.keys().map(|name| (name.to_string(), value(name))).collect()
}

fn chunks(count: u64) -> Response<AnswerBody> {
    let one = move |at| async move {
        if at == count {
            return None;
        }
        sleep(PAUSE).await;
        Some((Ok(Frame::data(Bytes::from(format!("chunk {at}\n")))), at + 1))
    };
    Response::new(StreamBody::new(stream::unfold(0, one)).boxed_unsync())
}

fn boom() -> Response<AnswerBody> {
    let one = |sent| async move {
        if sent {
            sleep(PAUSE).await; // or the head would not leave before the end
            return Some((Err(io::Error::other("ended on purpose")), true));
        }
        Some((Ok(Frame::data(Bytes::from_static(b"boom"))), true))
    };
    let mut response = Response::new(StreamBody::new(stream::unfold(false, one)).boxed_unsync());
    response.headers_mut().insert(CONTENT_LENGTH, BOOM_LENGTH.into());
    response
}

/// RFC 6455 section 4.2.2 as far as the handshake goes; after it bytes come back as they are, without frames.
fn switch(request: Request<Incoming>) -> Response<AnswerBody> {
    let Some(key) = request.headers().get("sec-websocket-key").cloned() else {
        return text(StatusCode::BAD_REQUEST, "send Upgrade: websocket and Sec-WebSocket-Key\n");
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let mut io = TokioIo::new(upgraded);
            let mut buffer = vec![0; 4096];
            while let Ok(length @ 1..) = io.read(&mut buffer).await {
                let Some(held) = buffer.get(..length) else { break };
                if io.write_all(held).await.is_err() {
                    break;
                }
            }
        }
    });
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&STANDARD.encode(hash.finish())) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

fn text(status: StatusCode, body: &str) -> Response<AnswerBody> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn number(query: &str, name: &str) -> u64 {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper_util::client::legacy::Client;

    use super::*;

    async fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, "one".to_owned(), std::future::pending()));
        base
    }

    #[tokio::test]
    async fn tells_what_reached_it() {
        let base = start().await;
        for http2 in [false, true] {
            let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
            let request = Request::post(format!("{base}/orders/1?a=b")).header("x-a", "1").header("x-a", "2");
            let response = client.request(request.body(Full::new(Bytes::from_static(b"abc"))).unwrap()).await.unwrap();
            let told: Value =
                serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(told["method"], "POST");
            assert_eq!((&told["path"], &told["query"]), (&json!("/orders/1"), &json!("a=b")));
            assert_eq!((&told["headers"]["x-a"], &told["body_bytes"]), (&json!(["1", "2"]), &json!(3)));
            assert_eq!(told["instance"], "one");
        }
    }

    #[tokio::test]
    async fn streams_waits_and_breaks() {
        let base = start().await;
        let get = |path: &str| reqwest::get(format!("{base}{path}"));
        assert_eq!(get("/stream?chunks=3").await.unwrap().text().await.unwrap(), "chunk 0\nchunk 1\nchunk 2\n");
        assert_eq!(get("/slow?ms=5").await.unwrap().status(), 200);
        get("/boom").await.unwrap().text().await.unwrap_err();
    }

    #[tokio::test]
    async fn switches_protocols_and_echoes() {
        let base = start().await;
        let mut stream = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
        // The key and the answer of RFC 6455 section 1.3.
        let ask = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap().into());
        }
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    }
}
