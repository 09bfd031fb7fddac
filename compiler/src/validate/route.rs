//! ApiRoute into [`ValidRoute`].

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU16, NonZeroU64},
};

use portreeve_crds::{
    ObjectRef,
    v1alpha1::{
        AdditionalHeaderSpec, ApiRoute, AppProtocolSpec, ClientAddressSpec, ForwardedHeadersSpec, ForwardingHeaderSpec,
        HeaderMatchSpec, MatchSpec, PathMatchType, RuleSpec, UpgradeSpec, UpstreamSpec,
    },
};
use portreeve_policy::{
    AdditionalHeader, AppProtocol, CanonicalPath, Cidr, ClientAddress, Cors, FieldClass, ForwardedHeaders,
    ForwardingHeader, HeaderMatch, HostnamePattern, Match, Method, Millis, PassedField, PathMatch, PathTemplate, Reach,
    Upgrade, Upstream,
};

use super::{Faults, PolicyAge, cors::validate_cors, generation};
use crate::{Diagnostic, duration::parse_duration};

/// What a rule has that does not say.
const DEFAULT_TIMEOUT: Millis = Millis::at_least_one(15_000);

/// The annotation that closes a route at once; its value says why.
pub(crate) const CLOSED: &str = "portreeve.dev/closed";

/// A route as far as it is understood.
#[derive(Debug, Clone)]
pub(crate) struct ValidRoute {
    pub(crate) generation: u64,
    pub(crate) age: PolicyAge,
    pub(crate) selector: Selector,
    /// Hosts that could be read; empty: any host.
    pub(crate) hostnames: BTreeSet<HostnamePattern>,
    pub(crate) client_address: ClientAddress,
    pub(crate) cors: Cors,
    pub(crate) pass_headers: BTreeSet<PassedField>,
    pub(crate) upstream: Upstream,
    pub(crate) rules: Vec<ValidRule>,
    /// Why the route is closed at once, in the words of whoever closed it.
    pub(crate) closed: Option<String>,
}

/// The pods of its namespace that carry a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// Those with these labels, at least one.
    Labels(BTreeMap<String, String>),
    /// Which ones cannot be told, so that every pod refuses what the route covers.
    Unreadable,
}

/// A clause of it.
#[derive(Debug, Clone)]
pub(crate) struct ValidRule {
    pub(crate) name: String,
    /// At least the requests that the rule would match if all of it could be read.
    pub(crate) matches: Vec<Match>,
    pub(crate) timeout: Millis,
    pub(crate) upgrades: BTreeSet<Upgrade>,
}

/// The route with every fault. A route with a fault is to refuse all that it covers.
///
/// INVARIANT: no fault takes a match away, for its requests would fall to a broader match of another route. What cannot be
/// read is widened: a host to every host, a path to its literal prefix, methods and headers to all, pods to all of the
/// namespace.
pub(crate) fn validate_route(object: &ObjectRef, route: &ApiRoute) -> (ValidRoute, Vec<Diagnostic>) {
    let mut faults = Faults::new(object);
    let spec = &route.spec;
    let selector = if spec.workload_selector.match_labels.is_empty() {
        faults.add(
            "spec.workloadSelector.matchLabels",
            "name at least one label: an empty selector would take every pod",
        );
        Selector::Unreadable
    } else {
        validate_labels(&mut faults, &spec.workload_selector.match_labels)
    };
    check_annotations(&mut faults, route);
    let mut hostnames = BTreeSet::new();
    let mut hosts_lost = false;
    for (i, host) in spec.hostnames.iter().enumerate() {
        let parsed = faults.take(&format!("spec.hostnames[{i}]"), HostnamePattern::try_from(host.clone()));
        hosts_lost |= parsed.is_none();
        hostnames.extend(parsed);
    }
    if spec.rules.is_empty() {
        faults.add("spec.rules", "name at least one rule");
    }
    let mut pass_headers = BTreeSet::new();
    for (i, name) in spec.pass_headers.iter().enumerate() {
        pass_headers.extend(faults.take(&format!("spec.passHeaders[{i}]"), PassedField::try_from(name.clone())));
    }
    let mut rules: Vec<ValidRule> = Vec::new();
    for (i, rule) in spec.rules.iter().enumerate() {
        if rules.iter().any(|known| known.name == rule.name) {
            faults.add(format!("spec.rules[{i}].name"), format!("duplicate rule name {:?}", rule.name));
        }
        rules.push(validate_rule(&mut faults, &format!("spec.rules[{i}]"), rule, &pass_headers));
    }
    let client_address = validate_client_address(&mut faults, spec.client_address.as_ref());
    let cors = validate_cors(&mut faults, spec.cors.as_ref());
    let upstream = validate_upstream(&mut faults, &spec.upstream);
    let mut valid = ValidRoute {
        generation: generation(&route.metadata),
        age: PolicyAge::of(&route.metadata),
        selector,
        hostnames,
        client_address,
        cors,
        pass_headers,
        upstream: upstream.unwrap_or(NO_UPSTREAM),
        rules,
        closed: route.metadata.annotations.as_ref().and_then(|all| all.get(CLOSED)).cloned(),
    };
    if valid.rules.is_empty() {
        valid.rules.push(ValidRule::unreadable("unreadable".to_owned()));
    }
    if hosts_lost {
        valid.cover_every_host();
    }
    (valid, faults.found)
}

/// Labels that no pod can carry would take the route from every pod.
fn validate_labels(faults: &mut Faults<'_>, labels: &BTreeMap<String, String>) -> Selector {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let word = |text: &str| {
        let ends = text.bytes().next().into_iter().chain(text.bytes().next_back());
        text.len() <= 63 && text.bytes().all(inner) && ends.into_iter().all(|b| b.is_ascii_alphanumeric())
    };
    let mut all = true;
    for (name, value) in labels {
        let bare = name.rsplit('/').next().unwrap_or_default();
        if bare.is_empty() || !word(bare) || !word(value) {
            all = false;
            let message = format!("{name}={value} is not a label: at most 63 letters, digits, '-', '_' and '.' each");
            faults.add(format!("spec.workloadSelector.matchLabels.{name}"), message);
        }
    }
    if all { Selector::Labels(labels.clone()) } else { Selector::Unreadable }
}

/// Nothing is ever sent there: it belongs to routes that refuse.
pub(super) const NO_UPSTREAM: Upstream = Upstream {
    port: NonZeroU16::MIN,
    protocol: AppProtocol::Http1,
    forwarded: ForwardedHeaders::Forwarded,
    max_connections: NonZeroU64::MIN,
};

/// Annotations of ours that an ApiRoute can have.
const ANNOTATIONS: [&str; 1] = [CLOSED];

/// An annotation of ours that nobody knows may be a misspelt [`CLOSED`], and whoever wrote it relies on it.
fn check_annotations(faults: &mut Faults<'_>, route: &ApiRoute) {
    for name in route.metadata.annotations.iter().flatten().map(|(name, _)| name) {
        if name.starts_with("portreeve.dev/") && !ANNOTATIONS.contains(&name.as_str()) {
            let message = format!("annotation {name} is not known; an ApiRoute can have {}", ANNOTATIONS.join(", "));
            faults.add(format!("metadata.annotations.{name}"), message);
        }
    }
}

impl ValidRoute {
    /// What the rules match is to be refused on every host, for which hosts are meant cannot be told.
    pub(super) fn cover_every_host(&mut self) {
        for rule in &mut self.rules {
            let everywhere = |clause: &Match| Match {
                path: clause.path.clone(),
                methods: BTreeSet::new(),
                headers: BTreeSet::new(),
                reach: Reach::BarrierOnAnyHost,
            };
            let barriers: Vec<_> = rule.matches.iter().map(everywhere).collect();
            rule.matches.extend(barriers);
        }
    }
}

impl ValidRule {
    /// A rule of which nothing is known: it may cover any path.
    pub(super) fn unreadable(name: String) -> Self {
        Self { name, matches: vec![barrier("/")], timeout: DEFAULT_TIMEOUT, upgrades: BTreeSet::new() }
    }
}

/// Whatever is below the part of a path that can be read.
pub(super) fn barrier(path: &str) -> Match {
    Match {
        path: PathMatch::Prefix(CanonicalPath::literal_prefix(path)),
        methods: BTreeSet::new(),
        headers: BTreeSet::new(),
        reach: Reach::Barrier,
    }
}

fn validate_client_address(faults: &mut Faults<'_>, spec: Option<&ClientAddressSpec>) -> ClientAddress {
    let Some(spec) = spec else { return ClientAddress::Peer };
    let path = "spec.clientAddress.trustedProxies";
    let mut trusted_proxies = BTreeSet::new();
    for (i, range) in spec.trusted_proxies.iter().enumerate() {
        trusted_proxies.extend(faults.take(&format!("{path}[{i}]"), Cidr::try_from(range.clone())));
    }
    if spec.trusted_proxies.is_empty() {
        faults.add(path, "name at least one address range, or leave clientAddress out to trust nobody");
    }
    let header = match spec.header {
        ForwardingHeaderSpec::Forwarded => ForwardingHeader::Forwarded,
        ForwardingHeaderSpec::XForwardedFor => ForwardingHeader::XForwardedFor,
    };
    if header == ForwardingHeader::Forwarded && !spec.additional_headers.is_empty() {
        faults.add("spec.clientAddress.additionalHeaders", "Forwarded tells scheme and host itself; leave it out");
    }
    let additional = spec.additional_headers.iter().map(|header| match header {
        AdditionalHeaderSpec::XForwardedHost => AdditionalHeader::XForwardedHost,
        AdditionalHeaderSpec::XForwardedProto => AdditionalHeader::XForwardedProto,
    });
    ClientAddress::Forwarded { header, additional_headers: additional.collect(), trusted_proxies }
}

fn validate_rule(faults: &mut Faults<'_>, path: &str, rule: &RuleSpec, passed: &BTreeSet<PassedField>) -> ValidRule {
    let mut matches = Vec::new();
    for (i, clause) in rule.matches.iter().enumerate() {
        matches.extend(validate_match(faults, &format!("{path}.matches[{i}]"), clause, passed));
    }
    if rule.matches.is_empty() {
        faults.add(format!("{path}.matches"), "name at least one match");
        matches.push(barrier("/"));
    }
    let timeout = parse_duration(&rule.timeout);
    if timeout.is_none() {
        faults.add(
            format!("{path}.timeout"),
            format!("{:?} is not a duration such as 15s or 1m30s, above zero", rule.timeout),
        );
    }
    let upgrades = rule.upgrades.iter().map(|upgrade| match upgrade {
        UpgradeSpec::WebSocket => Upgrade::WebSocket,
    });
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    ValidRule { name: rule.name.clone(), matches, timeout, upgrades: upgrades.collect() }
}

/// The match, or what it covers at least.
fn validate_match(
    faults: &mut Faults<'_>,
    path: &str,
    clause: &MatchSpec,
    passed: &BTreeSet<PassedField>,
) -> Vec<Match> {
    let route_path =
        faults.take(&format!("{path}.path.value"), validate_path_text(clause.path.kind, &clause.path.value));
    let mut methods = BTreeSet::new();
    for (i, method) in clause.methods.iter().enumerate() {
        methods.extend(faults.take(&format!("{path}.methods[{i}]"), Method::try_from(method.clone())));
    }
    let mut headers = BTreeSet::new();
    for (i, header) in clause.headers.iter().enumerate() {
        headers.extend(validate_header(faults, &format!("{path}.headers[{i}]"), header, passed));
    }
    let all_methods = methods.len() == clause.methods.iter().collect::<BTreeSet<_>>().len();
    let all_headers = headers.len() == clause.headers.len();
    let Some(route_path) = route_path else { return vec![barrier(&clause.path.value)] };
    cover_match(route_path, (methods, all_methods), (headers, all_headers))
}

/// A match of which these methods and headers could be read, and whether that is all of them. Of what is not known, all
/// methods with any headers are covered.
pub(super) fn cover_match(
    path: PathMatch,
    (methods, all_methods): (BTreeSet<Method>, bool),
    (headers, all_headers): (BTreeSet<HeaderMatch>, bool),
) -> Vec<Match> {
    let rest = (!all_methods || !all_headers).then(|| Match {
        path: path.clone(),
        methods: BTreeSet::new(),
        headers: BTreeSet::new(),
        reach: Reach::Remainder,
    });
    // Without the headers that it lost it would match more, and without its methods everything.
    let read = all_headers && (all_methods || !methods.is_empty());
    let read = read.then_some(Match { path, methods, headers, reach: Reach::Claim });
    read.into_iter().chain(rest).collect()
}

pub(super) fn validate_path_text(kind: PathMatchType, value: &str) -> Result<PathMatch, portreeve_policy::InvalidPath> {
    Ok(match kind {
        PathMatchType::Exact => PathMatch::Exact(CanonicalPath::parse(value)?),
        PathMatchType::PathPrefix => {
            // `/orders/` and `/orders` cover the same segments.
            let trimmed = if value.len() > 1 { value.strip_suffix('/').unwrap_or(value) } else { value };
            PathMatch::Prefix(CanonicalPath::parse(trimmed)?)
        }
        PathMatchType::Template => PathMatch::Template(PathTemplate::try_from(value.to_owned())?),
    })
}

fn validate_header(
    faults: &mut Faults<'_>,
    path: &str,
    header: &HeaderMatchSpec,
    passed: &BTreeSet<PassedField>,
) -> Option<HeaderMatch> {
    let read = validate_header_text(&header.name, &header.value);
    let read = read.and_then(|field| match FieldClass::of(&field.name) {
        FieldClass::Override if !passed.iter().any(|passed| passed.as_str() == field.name) => {
            let name = &header.name;
            Err(("name", format!("{name:?} is taken out of requests; name it in spec.passHeaders to match it")))
        }
        FieldClass::HopByHop | FieldClass::Own => {
            let name = &header.name;
            Err(("name", format!("{name:?} belongs to the connection or to the gateway; no rule can match it")))
        }
        FieldClass::EndToEnd | FieldClass::Override => Ok(field),
    });
    read.map_err(|(field, message)| faults.add(format!("{path}.{field}"), message)).ok()
}

/// The match, or the field that is wrong and why.
pub(super) fn validate_header_text(name: &str, value: &str) -> Result<HeaderMatch, (&'static str, String)> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || !name.bytes().all(token) {
        return Err(("name", format!("{name:?} is not a field name: letters, digits and '-'")));
    }
    if value.is_empty() || value.bytes().any(|b| b.is_ascii_control()) {
        return Err(("value", "a value to compare with is not empty and has no control characters".to_owned()));
    }
    Ok(HeaderMatch { name: name.to_ascii_lowercase(), value: value.to_owned() })
}

fn validate_upstream(faults: &mut Faults<'_>, upstream: &UpstreamSpec) -> Option<Upstream> {
    let port = u16::try_from(upstream.port).ok().and_then(NonZeroU16::new);
    if port.is_none() {
        faults.add("spec.upstream.port", format!("{} is not a port from 1 to 65535", upstream.port));
    }
    let max_connections = u64::try_from(upstream.max_connections).ok().and_then(NonZeroU64::new);
    if max_connections.is_none() {
        faults.add("spec.upstream.maxConnections", "at least 1");
    }
    Some(Upstream {
        port: port?,
        protocol: match upstream.protocol {
            AppProtocolSpec::Http1 => AppProtocol::Http1,
            AppProtocolSpec::Http2 => AppProtocol::Http2,
        },
        forwarded: match upstream.forwarded_headers {
            ForwardedHeadersSpec::Forwarded => ForwardedHeaders::Forwarded,
            ForwardedHeadersSpec::ForwardedAndXForwarded => ForwardedHeaders::ForwardedAndXForwarded,
        },
        max_connections: max_connections?,
    })
}
