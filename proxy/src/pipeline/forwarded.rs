//! What the upstream is told of the caller's side: `Forwarded` (RFC 7239), and the older family on request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use portreeve_policy::ForwardedHeaders;

use super::{ClientSide, Scheme};

/// Sets our own element; inbound ones are gone already: what is true of them is in `side` (RFC 7239 section 8.1). What is
/// not known is not said, but for the client itself (section 6.2).
pub(super) fn set(headers: &mut HeaderMap, side: &ClientSide, form: ForwardedHeaders) {
    let proto = side.scheme.map(|scheme| match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    });
    let host = side.authority();
    let mut element = format!("for={}", side.address.map_or_else(|| "unknown".to_owned(), node));
    if let Some(host) = &host {
        // A host with a colon or brackets, and every IPv6 address, is quoted (section 4, section 6.1).
        element.push_str(if host.contains([':', '[']) { ";host=\"" } else { ";host=" });
        element.push_str(host);
        element.push_str(if host.contains([':', '[']) { "\"" } else { "" });
    }
    if let Some(proto) = proto {
        element.push_str(";proto=");
        element.push_str(proto);
    }
    insert(headers, "forwarded", &element);
    if form == ForwardedHeaders::ForwardedAndXForwarded {
        let default = side.scheme.map(|scheme| if scheme == Scheme::Https { 443 } else { 80 });
        let port = side.authority.as_ref().and_then(|(_, port)| port.or(default)).map(|port: u16| port.to_string());
        let address = side.address.map(|address| address.to_string());
        for (name, text) in [
            ("x-forwarded-for", address.as_deref()),
            ("x-forwarded-host", host.as_deref()),
            ("x-forwarded-proto", proto),
            ("x-forwarded-port", port.as_deref()),
        ] {
            if let Some(text) = text {
                insert(headers, name, text);
            }
        }
    }
}

fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("\"[{v6}]\""),
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
