//! The ways to be hostile: those of the findings of November 2026, and those that have names of their own in the field.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
    get, opening, stream,
};

/// One way to behave, on each of so many connections.
#[derive(Clone)]
pub(super) struct Class {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    pub(super) say: Say,
    pub(super) reads: Reads,
    /// Requests of each turn, as the server would count them.
    pub(super) requests: u64,
    /// Turns on one connection.
    pub(super) turns: u32,
    /// Between turns.
    pub(super) pace: Duration,
    /// Before a connection that ended is opened again.
    pub(super) pause: Duration,
    pub(super) http2: bool,
    /// Only the proxy knows what to do with them.
    pub(super) credentials: bool,
    /// Head of honest requests meanwhile.
    pub(super) honest: String,
}

/// What is said: by number of the connection and of the turn.
#[derive(Clone)]
pub(super) enum Say {
    Once(Arc<Vec<u8>>),
    Turns(Arc<dyn Fn(usize, u32) -> Vec<u8> + Send + Sync>),
}

/// What becomes of answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    All,
    Nothing,
    Slowly,
}

/// What honest clients have.
pub(super) struct Target {
    pub(super) token: String,
    /// `user:password`.
    pub(super) password: String,
}

const OPEN: &str = "GET /open/hello HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request like all others, one after the other.
pub(super) fn plain() -> Class {
    Class { connections: 4, reads: Reads::All, pace: Duration::from_millis(1), ..turns("plain", |_, _| OPEN.into()) }
}

fn turns(name: &'static str, say: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Class {
    Class {
        name,
        connections: 16,
        say: Say::Turns(Arc::new(say)),
        reads: Reads::All,
        requests: 1,
        turns: u32::MAX,
        pace: Duration::ZERO,
        pause: Duration::ZERO,
        http2: false,
        credentials: false,
        honest: OPEN.to_owned(),
    }
}

fn once(name: &'static str, connections: usize, bytes: impl Into<Vec<u8>>) -> Class {
    Class { connections, say: Say::Once(Arc::new(bytes.into())), ..turns(name, |_, _| Vec::new()) }
}

/// Frames on connections of HTTP/2, the first turn behind the preface.
fn http2(name: &'static str, say: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Class {
    let say = move |_: usize, turn: u32| {
        let said = say(turn);
        if turn == 0 { [opening(&[]), said].concat() } else { said }
    };
    Class { http2: true, connections: 4, ..turns(name, say) }
}

/// All of them.
pub(super) fn all(target: &Target) -> Vec<Class> {
    let mut all = vec![Class { connections: 16, pace: Duration::ZERO, ..plain() }];
    all.extend(of_connections());
    all.extend(of_messages());
    all.extend(of_frames());
    all.extend(of_streams());
    all.extend(of_credentials(target));
    all
}

/// Connections that are held.
fn of_connections() -> Vec<Class> {
    let pause = Duration::from_millis(50);
    let part = format!("GET /open/hello HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(30_000));
    vec![
        Class { pause, ..once("silent connections", 2_000, "") },
        Class { pause, ..once("preface and silence", 1_000, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") },
        Class {
            connections: 500,
            pace: Duration::from_millis(500),
            requests: 0,
            ..turns("heads byte by byte", |_, turn| {
                vec![OPEN.as_bytes().get(turn as usize % 20).copied().unwrap_or(b'G')]
            })
        },
        Class { pause, ..once("heads that do not end", 1_000, part) },
        Class {
            turns: 1,
            ..turns("connect, ask, go", |_, _| OPEN.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").into())
        },
        Class {
            pause,
            ..once("bodies that do not come", 300, "POST /open/up HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1")
        },
        Class { pause, reads: Reads::Nothing, ..once("big answers unread", 300, OPEN.replace("hello", "big")) },
        Class { pause, reads: Reads::Slowly, ..once("big answers read slowly", 200, OPEN.replace("hello", "big")) },
    ]
}

/// Messages of HTTP/1.
fn of_messages() -> Vec<Class> {
    let refused = "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    let fields = format!("x-a: {}\r\n", "x".repeat(50)).repeat(98);
    let full = format!("GET /open/hello HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let large = format!("GET /open/hello HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let long = format!("GET /nowhere/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8_000));
    let upload = b"POST /closed HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    let block = vec![b'x'; 65_536];
    let chunk = "POST /open/up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    vec![
        Class {
            requests: 100,
            reads: Reads::Nothing,
            connections: 64,
            ..turns("refusals unread", move |_, _| refused.clone().into())
        },
        turns("as many fields as may be", move |_, _| full.clone().into()),
        turns("heads too large", move |_, _| large.clone().into()),
        turns("long paths to nowhere", move |_, _| long.clone().into()),
        turns("no HTTP at all", |_, _| b"\x16\x03\x01\x02\x00\x01\r\n\r\n".to_vec()),
        turns("targets that no parser takes", |_, _| b"GET /open/<> HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        turns("broken chunks", move |_, _| chunk.into()),
        Class {
            requests: 1,
            ..turns("refused uploads", move |_, turn| if turn == 0 { upload.clone() } else { block.clone() })
        },
    ]
}

/// Frames of HTTP/2 that ask for nothing.
fn of_frames() -> Vec<Class> {
    let flood = |name, one: Vec<u8>| {
        let many = one.repeat(500);
        Class { requests: 0, ..http2(name, move |_| many.clone()) }
    };
    vec![
        flood("SETTINGS flood", frame(SETTINGS, 0, 0, &[])),
        flood("PING flood", frame(PING, 0, 0, &[0; 8])),
        flood("PRIORITY flood", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        flood("WINDOW_UPDATE flood", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        Class {
            requests: 1,
            ..http2("CONTINUATION flood", |turn| {
                let begun =
                    if turn == 0 { frame(HEADERS, END_STREAM, 1, &get("/open/hello", &[])) } else { Vec::new() };
                [begun, frame(CONTINUATION, 0, 1, &get("/", &[]).repeat(4)).repeat(50)].concat()
            })
        },
        Class {
            requests: 1,
            ..http2("empty DATA", |turn| {
                let block = [get("/open/up", &[]), Vec::new()].concat();
                let begun = if turn == 0 { frame(HEADERS, END_HEADERS, 1, &block) } else { Vec::new() };
                [begun, frame(DATA, 0, 1, &[]).repeat(500)].concat()
            })
        },
    ]
}

/// Streams of HTTP/2.
fn of_streams() -> Vec<Class> {
    let ask = |turn: u32, path: &str| frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &get(path, &[]));
    vec![
        http2("rapid reset", move |turn| {
            [ask(turn, "/open/hello"), frame(RST_STREAM, 0, stream(turn), &[0, 0, 0, 8])].concat()
        }),
        http2("MadeYouReset", move |turn| {
            [ask(turn, "/open/hello"), frame(WINDOW_UPDATE, 0, stream(turn), &[0; 4])].concat()
        }),
        http2("HPACK bomb", |turn| {
            // The first block puts an empty field into the table, the others name it again and again.
            let mut block = get("/open/hello", &[]);
            match turn {
                0 => block.extend([0x40, 2, b'a', b'b', 0]),
                _ => block.extend([0xbe; 1_800]),
            }
            frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &block)
        }),
        http2("cookie crumbs", |turn| {
            let block = get("/open/hello", &[("cookie", "a=b"); 170]);
            frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &block)
        }),
        Class {
            reads: Reads::All,
            requests: 1,
            pace: Duration::from_millis(5),
            connections: 8,
            http2: true,
            ..turns("windows of nothing", move |_, turn| {
                let opened = if turn == 0 { opening(&[(4, 0)]) } else { Vec::new() };
                [opened, ask(turn, "/open/big")].concat()
            })
        },
        Class { reads: Reads::Nothing, ..http2("streams unread", move |turn| ask(turn, "/open/big")) },
    ]
}

/// Credentials that prove nothing.
fn of_credentials(target: &Target) -> Vec<Class> {
    let with = |class: Class, honest: &str| Class { credentials: true, honest: honest.to_owned(), ..class };
    let head = |path: &str, value: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\n\r\n");
    let bearer = head("/opaque/hello", &format!("Bearer {}", target.token));
    let basic = head("/basic/hello", &format!("Basic {}", STANDARD.encode(&target.password)));
    let unknown =
        move |number: usize, turn: u32| head("/opaque/hello", &format!("Bearer t{number}-{turn}")).into_bytes();
    let signed = move |number: usize, turn: u32| {
        // {"alg":"ES256","typ":"at+jwt","kid":"es-1"} of an issuer that is known, with no signature of it.
        let forged = format!(
            "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImVzLTEifQ.eyJuIjo{number}{turn}.{}",
            "A".repeat(86)
        );
        head("/signed/hello", &format!("Bearer {forged}")).into_bytes()
    };
    let guess = move |number: usize, turn: u32| {
        let text = STANDARD.encode(format!("user{}:guess{turn}", number % 8));
        head("/basic/hello", &format!("Basic {text}")).into_bytes()
    };
    let long = move |_: usize, _: u32| head("/opaque/hello", &format!("Bearer {}", "t".repeat(20_000))).into_bytes();
    let opaque_streams = |turn: u32| {
        let token = format!("Bearer s{turn}");
        let block = get("/opaque/hello", &[("authorization", token.as_str())]);
        frame(HEADERS, END_STREAM | END_HEADERS, stream(turn), &block)
    };
    vec![
        with(Class { connections: 64, ..turns("unknown tokens", unknown) }, &bearer),
        with(http2("unknown tokens on streams", opaque_streams), &bearer),
        with(turns("forged signatures", signed), &bearer),
        with(turns("tokens too long", long), &bearer),
        with(Class { connections: 64, ..turns("wrong passwords", guess) }, &basic),
    ]
}
