//! Sockets: listening, TLS, framing, serving, the way to the application, drain.

mod connections;
mod executor;
mod framing;
mod heard;
mod limits;
mod listen;
mod pulse;
mod serve;
mod tls;
mod turns;
mod upstream;

/// What docs/limits.md tells of.
pub(crate) mod bounds {
    pub(crate) use super::{
        framing::{BURST, EXCESS_FIELDS, LEAVE_BYTES, LEAVE_TIME, MAX_BACKLOG, MAX_HEAD, MAX_SPOILED, PER_SECOND},
        limits::{HANDSHAKE, HEAD_FREE, HEAD_ROOM},
        listen::MAX_UNSENT,
        serve::STREAMS,
        upstream::{CONNECT, MAX_BUFFER},
    };
}

pub(crate) use connections::{Admission, Connections};
pub(crate) use framing::fuzz_head as fuzz_framing;
pub use framing::{FramingVerdict, HEAD_TOO_LARGE, INVALID_TARGET, NO_ROOM, TARGET_TOO_LONG, TOO_MANY_FIELDS};
pub use limits::{HeadRoom, Limits};
pub use listen::{BindError, Listener, bind_all};
pub use serve::{Drain, Entrance, serve};
pub use tls::{Acceptors, InvalidTls, TlsFiles, TlsSource};
pub use upstream::UpstreamPool;
