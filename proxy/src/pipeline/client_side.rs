//! The client's side of a request: address, scheme and host as the client used them. Worked out once, after routing, for
//! whose word counts is said by the route.
//!
//! The chain is walked from the nearest hop on, as long as the hop is trusted. What is malformed or hidden ends the walk:
//! the last hop that is known counts as the client (H4). The list is read from its end, so that nothing that a client
//! wrote into its front, not even an unclosed quote, changes what the proxies behind it appended.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use portreeve_policy::{ClientAddress, ForwardingHeader, Hostname};

use super::{CanonicalRequest, Scheme, canonical::parse_authority};
use element::{Element, Node, elements_from_the_end};

mod element;

/// Who called, how, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSide {
    /// Address of the client; never an IPv4-mapped one.
    pub address: IpAddr,
    /// As the client used it.
    pub scheme: Scheme,
    /// Host without port.
    pub host: Hostname,
    /// Port that the client named.
    pub port: Option<u16>,
}

/// Most hops that are walked.
const MAX_HOPS: usize = 16;

impl ClientSide {
    /// The client's side of a request for a route with these trusted proxies.
    pub fn of(request: &CanonicalRequest, trust: &ClientAddress) -> Self {
        let peer = request.client.ip().to_canonical();
        let mut side = Self { address: peer, scheme: request.scheme, host: request.host.clone(), port: request.port };
        let ClientAddress::Forwarded { header, .. } = trust else { return side };
        if !trust.trusts(peer) {
            return side;
        }
        match header {
            ForwardingHeader::Forwarded => side.walk_forwarded(&request.headers, trust),
            ForwardingHeader::XForwardedFor => side.walk_x_forwarded(&request.headers, trust),
        }
        side
    }

    /// `host` or `host:port`.
    pub fn authority(&self) -> String {
        self.port.map_or_else(|| self.host.to_string(), |port| format!("{}:{port}", self.host))
    }

    /// Each element was appended by the hop behind it, so it counts only while that hop is trusted.
    fn walk_forwarded(&mut self, headers: &HeaderMap, trust: &ClientAddress) {
        for text in elements_from_the_end(headers, &http::header::FORWARDED).take(MAX_HOPS) {
            let Some(Element { node, host, scheme }) = Element::parse(text) else { return };
            if let Some((host, port)) = host {
                (self.host, self.port) = (host, port);
            }
            self.scheme = scheme.unwrap_or(self.scheme);
            let Node::Address(address) = node else { return };
            self.address = address;
            if !trust.trusts(address) {
                return;
            }
        }
    }

    fn walk_x_forwarded(&mut self, headers: &HeaderMap, trust: &ClientAddress) {
        let name = HeaderName::from_static("x-forwarded-for");
        for text in elements_from_the_end(headers, &name).take(MAX_HOPS) {
            let Some(address) = element::address_and_port(text) else { break };
            self.address = address;
            if !trust.trusts(address) {
                break;
            }
        }
        match only_value(headers, "x-forwarded-proto") {
            Some("https") => self.scheme = Scheme::Https,
            Some("http") => self.scheme = Scheme::Http,
            _ => {}
        }
        if let Some(Ok((host, port))) = only_value(headers, "x-forwarded-host").map(parse_authority) {
            (self.host, self.port) = (host, port);
        }
    }
}

/// The value of a field that stands once; a list is no value.
fn only_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    line.to_str().ok().map(str::trim).filter(|text| !text.contains(','))
}

#[cfg(test)]
mod tests;
