//! What a fuzzer calls; see the module of the same name in `policy`.

use std::{net::SocketAddr, sync::Arc};

use http::Request;
use portreeve_policy::{Cidr, ClientAddress, ForwardingHeader};

use crate::{
    authn::fuzz::{credentials, introspection, token},
    pipeline::{CanonicalRequest, ClientSide, Connection, Scheme},
};

/// Every target of this crate.
pub const TARGETS: [portreeve_policy::fuzz::Target; 6] = [
    ("credentials", credentials),
    ("introspection", introspection),
    ("json", |data| drop(crate::strict_json::parse_object(data))),
    ("request", request),
    ("token", token),
    ("framing", crate::transport::fuzz_framing),
];

/// A target in the first line, a field in every other one.
fn request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut builder = Request::builder().uri(lines.next().unwrap_or_default());
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        builder = builder.header(parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    }
    let Ok(request) = builder.body(()) else { return };
    let connection = Connection {
        peer: SocketAddr::from(([10, 0, 0, 1], 9)),
        local: SocketAddr::from(([10, 0, 0, 2], 80)),
        scheme: Scheme::Http,
        certificates: None,
        framing: Arc::default(),
        upload: crate::pipeline::Upload::default(),
        interim: Arc::default(),
    };
    let (mut parts, ()) = request.into_parts();
    let Ok(request) = CanonicalRequest::parse(&mut parts, &connection) else { return };
    let proxies = Cidr::try_from("10.0.0.0/8".to_owned()).into_iter().collect::<std::collections::BTreeSet<_>>();
    for header in [ForwardingHeader::Forwarded, ForwardingHeader::XForwardedFor] {
        let trust = ClientAddress::Forwarded {
            header,
            additional_headers: std::collections::BTreeSet::new(),
            trusted_proxies: proxies.clone(),
        };
        drop(ClientSide::of(&request, &trust).authority());
    }
}
