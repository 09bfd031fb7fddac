//! Sockets: listening, TLS, framing, serving, the way to the application, drain.

mod executor;
mod framing;
mod heard;
mod listen;
mod pulse;
mod serve;
mod tls;
mod upstream;

pub(crate) use framing::fuzz_head as fuzz_framing;
pub use framing::{FramingVerdict, HEAD_TOO_LARGE, TARGET_TOO_LONG};
pub use listen::{BindError, Limits, Listener, bind_all};
pub use serve::{Drain, serve};
pub use tls::{Acceptors, InvalidTls, TlsFiles, TlsSource};
pub use upstream::UpstreamPool;
