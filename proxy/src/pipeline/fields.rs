//! The header fields of a request, settled once: what concerns the connection, what only the gateway sets, what overrides
//! method, target or user, and names that applications read as other ones are out of the map before anything looks at
//! it. Routing, conditions, attribute rules, decision points and the application share what is left (H1, H2, H7).

use std::collections::BTreeSet;

use http::{
    HeaderMap, HeaderName, Version,
    header::{CONNECTION, Entry, TE, UPGRADE},
};
use portreeve_policy::{FieldClass, PassedField};

use super::InvalidRequest;

/// What a request said about its connection, and the fields that go no further unless the route says so.
#[derive(Debug, Clone, Default)]
pub(super) struct SetAside {
    /// Fields that `Connection` named and that were taken out for it.
    named: Vec<HeaderName>,
    /// `TE: trailers`, which gRPC needs.
    pub(super) takes_trailers: bool,
    /// A switch to WebSocket is asked for (RFC 6455 section 4.1).
    pub(super) asks_for_websocket: bool,
    /// Fields of the gateway, of the override list, and with `_`; the client's word on who forwarded what among them.
    pub(super) withheld: HeaderMap,
}

/// End-to-end fields that `Connection` cannot take away.
fn cannot_be_named(name: &str) -> bool {
    matches!(
        name,
        "host" | "authorization" | "cache-control" | "content-length" | "content-type" | "cookie" | "dpop" | "via"
    )
}

impl SetAside {
    /// Takes out of the map whatever is not end-to-end.
    pub(super) fn take_from(headers: &mut HeaderMap, version: Version) -> Result<Self, InvalidRequest> {
        let mut this = Self::default();
        let class = |name: &HeaderName| (FieldClass::of(name.as_str()), name.clone());
        let out: Vec<_> = headers.keys().filter(|name| !FieldClass::is_plain(name.as_str())).map(class).collect();
        // The usual case: `Connection` would be among them.
        if out.is_empty() {
            return Ok(this);
        }
        if headers.contains_key(CONNECTION) {
            let switches = this.connection(headers)?;
            this.asks_for_websocket =
                switches && version == Version::HTTP_11 && has_token(headers, &UPGRADE, "websocket");
        }
        this.takes_trailers = headers.get_all(TE).iter().any(|line| line.as_bytes().eq_ignore_ascii_case(b"trailers"));
        for name in &this.named {
            headers.remove(name);
        }
        for (class, name) in out {
            if class == FieldClass::HopByHop && !name.as_str().contains('_') {
                headers.remove(name);
            } else {
                move_lines(headers, &mut this.withheld, name);
            }
        }
        Ok(this)
    }

    /// Reads `Connection`; whether it asks for a switch of protocols.
    fn connection(&mut self, headers: &HeaderMap) -> Result<bool, InvalidRequest> {
        let mut switches = false;
        for line in headers.get_all(CONNECTION) {
            // RFC 9110 section 5.6.1.2: empty elements are ignored.
            let options = line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|one| !one.is_empty());
            for option in options {
                let name = HeaderName::from_bytes(option);
                let name = name.map_err(|_ignored: http::header::InvalidHeaderName| InvalidRequest::Connection)?;
                switches |= name == UPGRADE;
                if headers.contains_key(&name) && !cannot_be_named(name.as_str()) && !self.named.contains(&name) {
                    self.named.push(name);
                }
            }
        }
        self.named.retain(|name| FieldClass::of(name.as_str()) == FieldClass::EndToEnd);
        Ok(switches)
    }

    /// A field that somebody looks at cannot be taken away by who is looked at (H7).
    pub(super) fn check_named(&self, watched: &BTreeSet<String>) -> Result<(), InvalidRequest> {
        let is_watched = self.named.iter().any(|name| watched.contains(name.as_str()));
        if is_watched { Err(InvalidRequest::NamedByConnection) } else { Ok(()) }
    }

    /// Puts back what the route lets pass. A name with `_` that it does not let pass refuses the request: some
    /// applications read it as another field, others do not see it (section 2.3 of Envoy's edge advice).
    pub(super) fn settle(
        &mut self,
        headers: &mut HeaderMap,
        passed: &BTreeSet<PassedField>,
    ) -> Result<(), InvalidRequest> {
        if self.withheld.is_empty() {
            return Ok(());
        }
        let comes_back = |name: &HeaderName| passed.iter().any(|passed| passed.as_str() == name.as_str());
        let back: Vec<_> = self.withheld.keys().filter(|name| comes_back(name)).cloned().collect();
        for name in back {
            move_lines(&mut self.withheld, headers, name);
        }
        let ambiguous = self.withheld.keys().any(|name| name.as_str().contains('_'));
        if ambiguous { Err(InvalidRequest::Underscore) } else { Ok(()) }
    }
}

fn move_lines(from: &mut HeaderMap, to: &mut HeaderMap, name: HeaderName) {
    if let Entry::Occupied(lines) = from.entry(name) {
        let (name, values) = lines.remove_entry_mult();
        for value in values {
            to.append(name.clone(), value);
        }
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    lines.map(<[u8]>::trim_ascii).any(|part| part.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left, and what was set aside.
    fn split(lines: &[(&str, &str)]) -> (Vec<String>, Vec<String>, SetAside) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let aside = SetAside::take_from(&mut headers, Version::HTTP_11).unwrap();
        let told = |headers: &HeaderMap| {
            let mut lines: Vec<_> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            lines.sort();
            lines
        };
        (told(&headers), told(&aside.withheld), aside)
    }

    #[test]
    fn h1_what_connection_names_goes_but_never_end_to_end_fields() {
        let (kept, withheld, aside) = split(&[
            ("connection", "close,, X-Private , authorization, HOST,\tFORWARDED"),
            ("connection", "keep-alive"),
            ("x-private", "1"),
            ("x-private", "2"),
            ("authorization", "Bearer a"),
            ("host", "a"),
            ("keep-alive", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "x"),
            ("forwarded", "for=1.2.3.4"),
            ("x-kept", "1"),
        ]);
        assert_eq!(kept, ["authorization: Bearer a", "host: a", "x-kept: 1"]);
        assert_eq!(withheld, ["forwarded: for=1.2.3.4"]);
        assert!(aside.takes_trailers && !aside.asks_for_websocket);
        assert_eq!(aside.named, ["x-private"]);
    }

    #[test]
    fn h2_m8_fields_of_the_gateway_and_overrides_are_withheld_under_every_spelling() {
        let (kept, withheld, _) = split(&[
            ("x-forwarded-for", "1"),
            ("x_forwarded_for", "2"),
            ("X-Forwarded_Proto", "3"),
            ("portreeve_subject", "4"),
            ("client-cert", "5"),
            ("X-HTTP-Method-Override", "6"),
            ("x_tenant", "7"),
            ("keep_alive", "8"),
            ("x-tenant", "9"),
        ]);
        assert_eq!(kept, ["x-tenant: 9"]);
        assert_eq!(withheld.len(), 8);
    }

    #[test]
    fn h7_a_field_that_a_rule_looks_at_cannot_be_named_by_connection() {
        let watched = BTreeSet::from(["x-tenant".to_owned()]);
        for (lines, good) in [
            (&[("connection", "x-tenant"), ("x-tenant", "acme")][..], false),
            (&[("connection", "close, X-TENANT"), ("x-tenant", "acme")], false),
            (&[("connection", "x-tenant")], true),
            (&[("connection", "x-other"), ("x-other", "1"), ("x-tenant", "acme")], true),
            (&[("x-tenant", "acme")], true),
        ] {
            assert_eq!(split(lines).2.check_named(&watched).is_ok(), good, "{lines:?}");
        }
    }

    #[test]
    fn m8_h7_only_what_the_route_lets_pass_comes_back() {
        let passed = |names: &[&str]| names.iter().map(|n| PassedField::try_from((*n).to_owned()).unwrap()).collect();
        let lines = [("x-original-url", "/a"), ("x-real-ip", "1"), ("x-real-ip", "2")];
        let mut headers = HeaderMap::new();
        split(&lines).2.settle(&mut headers, &passed(&["X-Real-IP"])).unwrap();
        assert_eq!((headers.get_all("x-real-ip").iter().count(), headers.len()), (2, 2));
        let aliases = [("x_a", "1"), ("x_b", "1")];
        let settle = |names| split(&aliases).2.settle(&mut HeaderMap::new(), &passed(names));
        assert_eq!(settle(&["x_a"]), Err(InvalidRequest::Underscore));
        assert_eq!(settle(&["x_a", "x_b"]), Ok(()));
    }

    #[test]
    fn h7_a_connection_field_that_is_no_list_of_names_is_refused() {
        for text in ["a b", "x-a;q=1", "\u{f6}"] {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let refused = SetAside::take_from(&mut headers, Version::HTTP_11).err();
            assert_eq!(refused, Some(InvalidRequest::Connection), "{text}");
        }
    }
}
