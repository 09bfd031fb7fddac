//! One hop's word about the hop before it: an element of `Forwarded` (RFC 7239 section 4), strictly.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use portreeve_policy::Hostname;

use crate::pipeline::{Scheme, canonical::parse_authority};

/// What one element says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// `for`
    pub(super) node: Node,
    pub(super) host: Option<(Hostname, Option<u16>)>,
    pub(super) scheme: Option<Scheme>,
}

/// A node of section 6.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr),
    /// Missing, `unknown` or a name of its own making (sections 6.2, 6.3).
    Hidden,
}

/// The elements of a field, the last one first; several lines are one list (section 7.1). A line that is no text is one
/// element of which nothing is known.
pub(super) fn elements_from_the_end<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(|line| {
        let mut rest = Some(line.to_str().ok());
        std::iter::from_fn(move || {
            let Some(text) = rest? else {
                rest = None;
                return Some(None);
            };
            let (before, last) = split_last(text);
            rest = before.map(Some);
            Some(Some(last))
        })
    })
}

/// Parts the last element of a list; commas within quotes part nothing.
fn split_last(text: &str) -> (Option<&str>, &str) {
    let mut quoted = false;
    let mut end = text.len();
    while let Some((at, byte)) = last_byte(text, end) {
        end = at;
        match byte {
            b'"' if quoted => quoted = is_escaped(text, at),
            b'"' => quoted = true,
            b',' if !quoted => {
                let (before, last) = text.split_at_checked(at).unwrap_or(("", text));
                return (Some(before), last.strip_prefix(',').unwrap_or(last).trim_matches([' ', '\t']));
            }
            _ => {}
        }
    }
    (None, text.trim_matches([' ', '\t']))
}

fn last_byte(text: &str, end: usize) -> Option<(usize, u8)> {
    let at = end.checked_sub(1)?;
    text.as_bytes().get(at).map(|byte| (at, *byte))
}

/// Whether an odd number of backslashes stands before this place.
fn is_escaped(text: &str, at: usize) -> bool {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

impl Element {
    /// `None` for anything that the grammar does not allow, or that says a thing twice.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut element = Self { node: Node::Hidden, host: None, scheme: None };
        let mut seen: Vec<String> = Vec::new();
        let mut rest = text;
        loop {
            let (name, after) = token(rest)?;
            let (value, after) = value(after.strip_prefix('=')?)?;
            let name = name.to_ascii_lowercase();
            if seen.contains(&name) {
                return None;
            }
            match name.as_str() {
                "for" => element.node = node(&value)?,
                "by" if node(&value).is_none() => return None,
                "host" => element.host = Some(parse_authority(&value).ok()?),
                "proto" => element.scheme = Some(scheme(&value)?),
                // Extensions (section 5.5) say nothing that is used here.
                _ => {}
            }
            seen.push(name);
            match after.strip_prefix(';') {
                Some(more) => rest = more,
                None => return after.is_empty().then_some(element),
            }
        }
    }
}

pub(super) fn scheme(value: &str) -> Option<Scheme> {
    match value.to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

/// An address, perhaps with a port, or a word that hides it.
fn node(text: &str) -> Option<Node> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return is_port(port).then(|| Node::Address(IpAddr::V6(address).to_canonical()));
    }
    let (name, port) = text.split_once(':').map_or((text, ""), |(name, _)| (name, text.trim_start_matches(name)));
    if !is_port(port) {
        return None;
    }
    let hidden = name.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(obfuscated));
    if hidden || name.eq_ignore_ascii_case("unknown") {
        return Some(Node::Hidden);
    }
    name.parse::<std::net::Ipv4Addr>().ok().map(|address| Node::Address(IpAddr::V4(address)))
}

/// Nothing, `:80` or `:_hidden`.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    match port.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(obfuscated),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn obfuscated(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
}

/// An entry of `X-Forwarded-For`: an address, as some proxies write it with a port or in brackets.
pub(super) fn address_and_port(text: &str) -> Option<IpAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let alone = match in_brackets {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok(),
    };
    alone.or_else(|| text.parse::<SocketAddr>().ok().map(|both| both.ip())).map(|address| address.to_canonical())
}

/// The token (RFC 9110 section 5.6.2) at the start, and what follows.
fn token(text: &str) -> Option<(&str, &str)> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let length = text.bytes().take_while(|b| legal(*b)).count();
    text.split_at_checked(length).filter(|(token, _)| !token.is_empty())
}

/// A token or quoted string (RFC 9110 section 5.6.4) at the start, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else { return token(text).map(|(token, rest)| (token.to_owned(), rest)) };
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return inner.get(at + 1..).map(|rest| (value, rest)),
            '\\' => value.push(characters.next()?.1),
            character => value.push(character),
        }
    }
    None
}
