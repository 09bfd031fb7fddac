//! ApiRoute into [`ValidRoute`].

use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU16, NonZeroU64},
};

use portreeve_crds::{
    ObjectRef,
    v1alpha1::{
        ApiRoute, AppProtocolSpec, ClientAddressSpec, ForwardedHeadersSpec, ForwardingHeaderSpec, HeaderMatchSpec,
        MatchSpec, PathMatchSpec, PathMatchType, RuleSpec, UpgradeSpec, UpstreamSpec,
    },
};
use portreeve_policy::{
    AppProtocol, CanonicalPath, Cidr, ClientAddress, ForwardedHeaders, ForwardingHeader, HeaderMatch, HostnamePattern,
    Match, Method, Millis, PathMatch, PathTemplate, Upgrade, Upstream,
};

use super::{Faults, Seniority, generation};
use crate::{Diagnostic, duration::parse_duration};

/// The annotation that closes a route at once; its value says why.
pub(crate) const CLOSED: &str = "portreeve.dev/closed";

/// A route whose every field is understood.
#[derive(Debug, Clone)]
pub(crate) struct ValidRoute {
    pub(crate) generation: u64,
    pub(crate) seniority: Seniority,
    pub(crate) selector: BTreeMap<String, String>,
    pub(crate) hostnames: BTreeSet<HostnamePattern>,
    pub(crate) client_address: ClientAddress,
    pub(crate) upstream: Upstream,
    pub(crate) rules: Vec<ValidRule>,
    /// Why the route is closed at once, in the words of whoever closed it.
    pub(crate) closed: Option<String>,
}

/// A clause of it.
#[derive(Debug, Clone)]
pub(crate) struct ValidRule {
    pub(crate) name: String,
    pub(crate) matches: Vec<Match>,
    pub(crate) timeout: Millis,
    pub(crate) upgrades: BTreeSet<Upgrade>,
}

/// The route as far as it is valid, with every fault. With a fault the whole route is to be refused, for a rule that
/// cannot be matched would leave its requests to a laxer one.
pub(crate) fn validate_route(object: &ObjectRef, route: &ApiRoute) -> (Option<ValidRoute>, Vec<Diagnostic>) {
    let mut faults = Faults::new(object);
    let spec = &route.spec;
    if spec.workload_selector.match_labels.is_empty() {
        faults.add(
            "spec.workloadSelector.matchLabels",
            "name at least one label: an empty selector would take every pod",
        );
    }
    let mut hostnames = BTreeSet::new();
    for (i, host) in spec.hostnames.iter().enumerate() {
        let parsed = HostnamePattern::try_from(host.clone());
        hostnames.extend(faults.take(&format!("spec.hostnames[{i}]"), parsed));
    }
    if spec.rules.is_empty() {
        faults.add("spec.rules", "name at least one rule");
    }
    let mut rules: Vec<ValidRule> = Vec::new();
    for (i, rule) in spec.rules.iter().enumerate() {
        if rules.iter().any(|known| known.name == rule.name) {
            faults.add(
                format!("spec.rules[{i}].name"),
                format!("rule name {:?} stands twice; give each its own", rule.name),
            );
        }
        rules.extend(validate_rule(&mut faults, &format!("spec.rules[{i}]"), rule));
    }
    let client_address = validate_client_address(&mut faults, spec.client_address.as_ref());
    let upstream = validate_upstream(&mut faults, &spec.upstream);
    // A route all of whose hosts are wrong must not turn into one for every host.
    let hosts_lost = hostnames.is_empty() && !spec.hostnames.is_empty();
    let valid = upstream.filter(|_| !hosts_lost).map(|upstream| ValidRoute {
        generation: generation(&route.metadata),
        seniority: Seniority::of(&route.metadata),
        selector: spec.workload_selector.match_labels.clone(),
        hostnames,
        client_address,
        upstream,
        rules,
        closed: route.metadata.annotations.as_ref().and_then(|all| all.get(CLOSED)).cloned(),
    });
    (valid, faults.found)
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
    ClientAddress::Forwarded { header, trusted_proxies }
}

fn validate_rule(faults: &mut Faults<'_>, path: &str, rule: &RuleSpec) -> Option<ValidRule> {
    let mut matches = Vec::new();
    for (i, clause) in rule.matches.iter().enumerate() {
        matches.extend(validate_match(faults, &format!("{path}.matches[{i}]"), clause));
    }
    if rule.matches.is_empty() {
        faults.add(format!("{path}.matches"), "name at least one match");
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
    Some(ValidRule { name: rule.name.clone(), matches, timeout: timeout?, upgrades: upgrades.collect() })
}

fn validate_match(faults: &mut Faults<'_>, path: &str, clause: &MatchSpec) -> Option<Match> {
    let route_path = faults.take(&format!("{path}.path.value"), validate_path(&clause.path));
    let mut methods = BTreeSet::new();
    for (i, method) in clause.methods.iter().enumerate() {
        methods.extend(faults.take(&format!("{path}.methods[{i}]"), Method::try_from(method.clone())));
    }
    let mut headers = BTreeSet::new();
    for (i, header) in clause.headers.iter().enumerate() {
        headers.extend(validate_header(faults, &format!("{path}.headers[{i}]"), header));
    }
    // A clause that lost a method or header would match more than was asked for.
    let whole =
        methods.len() == clause.methods.iter().collect::<BTreeSet<_>>().len() && headers.len() == clause.headers.len();
    route_path.filter(|_| whole).map(|path| Match { path, methods, headers })
}

fn validate_path(path: &PathMatchSpec) -> Result<PathMatch, portreeve_policy::InvalidPath> {
    let value = path.value.clone();
    Ok(match path.kind {
        PathMatchType::Exact => PathMatch::Exact(CanonicalPath::try_from(value)?),
        PathMatchType::Prefix => {
            // `/orders/` and `/orders` cover the same segments.
            let trimmed = if value.len() > 1 { value.strip_suffix('/').unwrap_or(&value) } else { &value };
            PathMatch::Prefix(CanonicalPath::parse(trimmed)?)
        }
        PathMatchType::Template => PathMatch::Template(PathTemplate::try_from(value)?),
    })
}

fn validate_header(faults: &mut Faults<'_>, path: &str, header: &HeaderMatchSpec) -> Option<HeaderMatch> {
    let name = header.name.to_ascii_lowercase();
    let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || !name.bytes().all(token) {
        faults.add(format!("{path}.name"), format!("{:?} is not a field name: letters, digits and '-'", header.name));
        return None;
    }
    if header.value.is_empty() || header.value.bytes().any(|b| b.is_ascii_control()) {
        faults.add(format!("{path}.value"), "a value to compare with is not empty and has no control characters");
        return None;
    }
    Some(HeaderMatch { name, value: header.value.clone() })
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
