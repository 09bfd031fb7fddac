use std::{sync::Arc, time::Duration};

use tokio::io::AsyncReadExt;

use super::{scan::STAND_IN, *};

/// What the parser gets to see, in pieces of `step` bytes, and why a request was refused.
async fn through(bytes: &[u8], step: usize) -> (Vec<u8>, Option<&'static str>, bool) {
    let verdict = Arc::new(FramingVerdict::default());
    let mut socket = tokio_test_io(bytes, step);
    let mut guarded = FramingGuard::new(
        &mut socket,
        Arc::clone(&verdict),
        (Arc::default(), Arc::default()),
        Agreed::Nothing,
        &Limits::new(Duration::from_secs(30), 1, 1),
    );
    let mut seen = Vec::new();
    // After a refusal nothing comes any more, not even the end.
    let read = tokio::time::timeout(Duration::from_millis(5), guarded.read_to_end(&mut seen)).await;
    let broken = matches!(read, Ok(Err(_)));
    (seen, verdict.of_refused(), broken)
}

/// A reader that gives at most `step` bytes at a time.
fn tokio_test_io(bytes: &[u8], step: usize) -> Pieces<'_> {
    Pieces { bytes, step }
}

struct Pieces<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.step.min(self.bytes.len()).min(buf.remaining());
        let (now, later) = self.bytes.split_at(count);
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

const STEPS: [usize; 4] = [1, 7, 64, 100_000];

#[tokio::test]
async fn unambiguous_requests_pass_byte_for_byte() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel\nlGET /2 HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5;ext=1\r\n\nello\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{1}anything\n",
    ] {
        for step in STEPS {
            let (seen, refused, broken) = through(text.as_bytes(), step).await;
            assert_eq!((String::from_utf8_lossy(&seen).as_ref(), refused, broken), (text, None, false), "{step}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ambiguous_heads_are_replaced_f1_f4_f5() {
    let good = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        "POST / HTTP/1.1\r\n: a\r\n\r\n",
        "POST / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST  / HTTP/1.1\r\n\r\n",
        "POST /#f HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.2\r\n\r\n",
        "POST / HTTP/2.0\r\n\r\n",
    ] {
        for step in STEPS {
            let (seen, refused, _) = through(format!("{good}{head}smuggled").as_bytes(), step).await;
            assert_eq!(
                String::from_utf8_lossy(&seen),
                format!("{good}{}", String::from_utf8_lossy(STAND_IN)),
                "{head:?}"
            );
            assert!(refused.is_some(), "{head:?}");
        }
    }
}

#[tokio::test]
async fn broken_chunks_break_the_connection_f5_h6() {
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\0b\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\nAuthorization: Bearer x\r\n\r\n",
        "0\r\nContent-Length: 3\r\n\r\n",
    ] {
        for step in STEPS {
            let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
            let (_, refused, broken) = through(text.as_bytes(), step).await;
            assert!(broken && refused.is_none(), "{body:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_oversized_head_is_refused_and_held_no_longer() {
    let text = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(70_000));
    let (seen, refused, _) = through(text.as_bytes(), 4096).await;
    assert_eq!((seen.as_slice(), refused), (STAND_IN, Some(head::TOO_LARGE)));
}
