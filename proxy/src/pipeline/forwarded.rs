//! What the upstream is told of the caller's side: `Forwarded` (RFC 7239), and the older family on request.

use std::{fmt::Write, net::IpAddr};

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
    if let Ok(element) = element(side, proto) {
        insert(headers, "forwarded", &element);
    }
    if form == ForwardedHeaders::ForwardedAndXForwarded {
        let host = side.authority();
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

/// Writing into memory never fails.
fn element(side: &ClientSide, proto: Option<&str>) -> Result<String, std::fmt::Error> {
    let mut element = String::with_capacity(128);
    element.push_str("for=");
    match side.address {
        None => element.push_str("unknown"),
        Some(IpAddr::V4(v4)) => write!(element, "{v4}")?,
        Some(IpAddr::V6(v6)) => write!(element, "\"[{v6}]\"")?,
    }
    if let Some((host, port)) = &side.authority {
        // A host with a port or brackets is quoted (section 4, section 6.1).
        let quoted = port.is_some() || host.as_str().contains(':');
        element.push_str(if quoted { ";host=\"" } else { ";host=" });
        element.push_str(host.as_str());
        if let Some(port) = port {
            write!(element, ":{port}")?;
        }
        element.push_str(if quoted { "\"" } else { "" });
    }
    if let Some(proto) = proto {
        element.push_str(";proto=");
        element.push_str(proto);
    }
    Ok(element)
}

fn insert(headers: &mut HeaderMap, name: &'static str, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
