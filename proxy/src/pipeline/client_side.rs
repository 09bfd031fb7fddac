//! The client's side of a request: address, scheme and host as the client used them. Worked out once, after routing, for
//! whose word counts is said by the route.
//!
//! The chain is walked from the nearest hop on, as long as the hop is trusted. The list is read from its end, so that
//! nothing that a client wrote into its front, not even an unclosed quote, changes what the proxies behind it appended.
//!
//! INVARIANT: a trusted proxy is never taken for the client because of what it wrote. Where it hides the client, or
//! cannot be understood, the address is unknown, and no condition on addresses holds (H4).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use portreeve_policy::{AdditionalHeader, ClientAddress, ForwardingHeader, Hostname};

use super::{CanonicalRequest, Scheme, canonical::parse_authority};
use crate::peer::Peer;
use element::{Element, Node, elements_from_the_end};

mod element;

/// Who called, how, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSide {
    /// Address of the client, never an IPv4-mapped one; `None` where a trusted proxy hides it or cannot be understood.
    pub address: Option<IpAddr>,
    /// Address of the other end of the connection.
    pub peer: IpAddr,
    /// As the client used it; `None` where a trusted proxy cannot be understood.
    pub scheme: Option<Scheme>,
    /// As the client named them; `None` where a trusted proxy cannot be understood.
    pub authority: Option<(Hostname, Option<u16>)>,
}

/// Most hops that are walked, and most empty elements on the way (RFC 9110 section 5.6.1.2: a reasonable number).
const MAX_HOPS: usize = 16;
const MAX_EMPTY: usize = 16;

impl ClientSide {
    /// Whom a share is counted for: the client, or the proxy that hides it.
    pub fn share(&self) -> Peer {
        Peer::of(self.address.unwrap_or(self.peer))
    }

    /// The client's side of a request for a route with these trusted proxies.
    pub fn of(request: &CanonicalRequest, trust: &ClientAddress) -> Self {
        let peer = request.client.ip().to_canonical();
        let mut side = Self {
            address: Some(peer),
            peer,
            scheme: Some(request.scheme),
            authority: Some((request.host.clone(), request.port)),
        };
        let ClientAddress::Forwarded { header, additional_headers, .. } = trust else { return side };
        if !trust.trusts(peer) {
            return side;
        }
        let headers = &request.aside.withheld;
        match header {
            ForwardingHeader::Forwarded => {
                if side.walk_forwarded(headers, trust).is_none() {
                    (side.address, side.scheme, side.authority) = (None, None, None);
                }
            }
            ForwardingHeader::XForwardedFor => {
                if side.walk_x_forwarded_for(headers, trust).is_none() {
                    side.address = None;
                }
            }
        }
        for header in additional_headers {
            side.believe(*header, headers);
        }
        side
    }

    /// `host` or `host:port`.
    pub fn authority(&self) -> Option<String> {
        let (host, port) = self.authority.as_ref()?;
        Some(port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}")))
    }

    /// Each element was appended by the hop behind it, so it counts only while that hop is trusted. `None` when an
    /// element that counts cannot be understood.
    fn walk_forwarded(&mut self, headers: &HeaderMap, trust: &ClientAddress) -> Option<()> {
        for text in hops(headers, &http::header::FORWARDED) {
            let Element { node, host, scheme } = Element::parse(text?)?;
            if let Some(host) = host {
                self.authority = Some(host);
            }
            self.scheme = scheme.or(self.scheme);
            let Node::Address(address) = node else {
                self.address = None;
                return Some(());
            };
            self.address = Some(address);
            if !trust.trusts(address) {
                return Some(());
            }
        }
        Some(())
    }

    fn walk_x_forwarded_for(&mut self, headers: &HeaderMap, trust: &ClientAddress) -> Option<()> {
        for text in hops(headers, &HeaderName::from_static("x-forwarded-for")) {
            let address = element::address_and_port(text?)?;
            self.address = Some(address);
            if !trust.trusts(address) {
                return Some(());
            }
        }
        Some(())
    }

    /// A field beside `X-Forwarded-For`. Absent, the connection's own side counts; with any other value than one, nobody
    /// knows.
    fn believe(&mut self, header: AdditionalHeader, headers: &HeaderMap) {
        match header {
            AdditionalHeader::XForwardedHost => {
                if headers.contains_key("x-forwarded-host") {
                    let text = only_value(headers, "x-forwarded-host");
                    self.authority = text.and_then(|text| parse_authority(text).ok());
                }
            }
            AdditionalHeader::XForwardedProto => {
                if headers.contains_key("x-forwarded-proto") {
                    self.scheme = only_value(headers, "x-forwarded-proto").and_then(element::scheme);
                }
            }
        }
    }
}

/// The elements that may be walked, the last one first; `None` for what is no text, for a list of nothing, and for one that
/// goes on beyond the bounds.
fn hops<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> {
    let mut elements = elements_from_the_end(headers, name);
    let (mut seen, mut empty) = (0, 0);
    std::iter::from_fn(move || {
        loop {
            let Some(element) = elements.next() else {
                // Empty elements alone: the field is there and says nothing.
                let nothing = seen == 0 && empty > 0;
                empty = 0;
                return nothing.then_some(None);
            };
            if element == Some("") && empty < MAX_EMPTY {
                empty += 1;
                continue;
            }
            seen += 1;
            return Some(element.filter(|element| seen <= MAX_HOPS && !element.is_empty()));
        }
    })
}

/// The value of a field that stands once; a list and what is no text are no value.
fn only_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    line.to_str().ok().map(str::trim).filter(|text| !text.contains(','))
}

#[cfg(test)]
mod tests;
