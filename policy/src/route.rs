//! One API as the proxy serves it.

use std::{
    collections::BTreeSet,
    num::{NonZeroU16, NonZeroU64},
};

use serde::{Deserialize, Serialize};

use crate::{
    ClientAddress, Cors, FieldClass, HostnamePattern, Match, Millis, NamespacedName, PassedField, RuleState, Shadow,
};

/// An ApiRoute with every policy that applies to it, merged rule by rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Generation of the ApiRoute that this was compiled from.
    pub generation: u64,
    /// Hosts that it answers; empty means any host that is valid.
    pub hostnames: BTreeSet<HostnamePattern>,
    /// Whose word is taken for the client's address; absent means nobody's.
    #[serde(default, skip_serializing_if = "ClientAddress::is_peer")]
    pub client_address: ClientAddress,
    /// Who answers CORS preflights; absent means that they are refused.
    #[serde(default, skip_serializing_if = "Cors::is_refuse")]
    pub cors: Cors,
    /// Fields that pass although they would be taken out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pass_headers: BTreeSet<PassedField>,
    /// Where permitted requests go.
    pub upstream: Upstream,
    /// The rules, in the order of the object.
    pub rules: Vec<Rule>,
}

/// One rule of a route, with what it takes to pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Name within the route.
    pub name: String,
    /// Any one of these matches.
    pub matches: Vec<Match>,
    /// From the first byte of the request to the last byte of the answer.
    pub timeout: Millis,
    /// Protocol switches that are let through.
    pub upgrades: BTreeSet<Upgrade>,
    /// The policies that decided, most specific first.
    pub policies: Vec<PolicyOrigin>,
    /// What it takes to pass, or why nothing passes.
    pub state: RuleState,
    /// Policies in dry run: evaluated and recorded, never enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadows: Vec<Shadow>,
}

/// A policy that applies to a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyOrigin {
    /// The ApiPolicy.
    pub name: NamespacedName,
    /// Its generation.
    pub generation: u64,
}

/// The application behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// Port on loopback.
    pub port: NonZeroU16,
    /// What it speaks.
    pub protocol: AppProtocol,
    /// How it learns of the caller's side.
    pub forwarded: ForwardedHeaders,
    /// Most connections that one worker of the proxy opens to it.
    pub max_connections: NonZeroU64,
}

/// Protocol towards the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AppProtocol {
    /// HTTP/1.1 in clear text.
    Http1,
    /// HTTP/2 with prior knowledge in clear text.
    Http2,
}

/// How the caller's side is described to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ForwardedHeaders {
    /// `Forwarded` (RFC 7239) only.
    Forwarded,
    /// `Forwarded` and the older `X-Forwarded-For`, `-Host`, `-Port` and `-Proto`.
    ForwardedAndXForwarded,
}

/// A protocol switch (RFC 9110 section 7.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

impl Route {
    /// Header fields that matches, credentials and conditions look at, of policies in force and in dry run.
    pub fn watched_fields(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| {
            let matched = rule.matches.iter().flat_map(|matched| &matched.headers).map(|header| header.name.as_str());
            let shadows = rule.shadows.iter().map(|shadow| &shadow.state);
            matched.chain(std::iter::once(&rule.state).chain(shadows).flat_map(RuleState::watched_fields))
        })
    }

    /// Whether requests for this route ever have a field, as far as its name says.
    pub fn takes_field(&self, name: &str) -> bool {
        match FieldClass::of(name) {
            FieldClass::EndToEnd => !name.contains('_') || self.passes(name),
            FieldClass::Override => self.passes(name),
            FieldClass::HopByHop | FieldClass::Own => false,
        }
    }

    fn passes(&self, name: &str) -> bool {
        self.pass_headers.iter().any(|passed| passed.as_str() == name)
    }

    /// A field with `_` that the route lets pass, and that applications may take for one which a rule looks at.
    pub fn ambiguous_field(&self) -> Option<&PassedField> {
        let alias = |passed: &&PassedField| {
            let dashed = passed.as_str().replace('_', "-");
            dashed != passed.as_str() && self.watched_fields().any(|watched| watched == dashed)
        };
        self.pass_headers.iter().find(alias)
    }
}
