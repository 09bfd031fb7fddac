//! What the upstream is told of the caller's side: `Forwarded` (RFC 7239), and the older family on request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use portreeve_policy::ForwardedHeaders;

use super::{ClientSide, Scheme};

/// Sets our own element; inbound ones are gone already: what is true of them is in `side` (RFC 7239 section 8.1).
pub(super) fn set(headers: &mut HeaderMap, side: &ClientSide, form: ForwardedHeaders) {
    let proto = match side.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let host = side.authority();
    let client = side.address;
    // A host with a colon or brackets, and every IPv6 address, is quoted (section 4, section 6.1).
    let quoted = if host.contains([':', '[']) { format!("\"{host}\"") } else { host.clone() };
    let element = format!("for={};host={quoted};proto={proto}", node(client));
    insert(headers, "forwarded", &element);
    if form == ForwardedHeaders::ForwardedAndXForwarded {
        insert(headers, "x-forwarded-for", &client.to_string());
        insert(headers, "x-forwarded-host", &host);
        insert(headers, "x-forwarded-proto", proto);
        let default = if side.scheme == Scheme::Https { 443 } else { 80 };
        insert(headers, "x-forwarded-port", &side.port.unwrap_or(default).to_string());
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
