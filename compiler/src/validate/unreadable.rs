//! What an object covers that cannot be read as its kind. Nothing here is in force but refusals.
//!
//! INVARIANT: whatever the object would have covered if its one fault were corrected is covered here, and as little else
//! as can be told. What is not there at all, and what has another shape than it should, counts as "could be anything".

use std::collections::{BTreeMap, BTreeSet};

use portreeve_crds::v1alpha1::PathMatchType;
use portreeve_policy::{ClientAddress, Cors, HeaderMatch, HostnamePattern, Match, Method};
use serde_json::Value;

use super::{
    PolicyAge, ValidRoute, ValidRule,
    route::{NO_UPSTREAM, Selector, barrier, cover_match, validate_header_text, validate_path_text},
};

/// Fields of an ApiRoute's `spec`. A field beside these can be any of them, misspelt.
const ROUTE_FIELDS: [&str; 9] =
    ["workloadSelector", "hostnames", "clientAddress", "cors", "passHeaders", "api", "upstream", "rules", "access"];

/// Whether `spec` has a field that could be a misspelt one.
fn has_unknown_field(value: &Value) -> bool {
    let spec = value.get("spec").and_then(Value::as_object);
    spec.is_none_or(|spec| spec.keys().any(|name| !ROUTE_FIELDS.contains(&name.as_str())))
}

/// Whether so little of `spec` is there that it was emptied or cut off, and its hostnames with the rest.
fn is_cut_off(spec: &Value) -> bool {
    ["workloadSelector", "upstream", "rules"].iter().filter(|name| spec.get(name).is_none()).count() >= 2
}

/// The route, to refuse all that it may cover.
pub(crate) fn unreadable_route(value: &Value) -> ValidRoute {
    let spec = value.get("spec").unwrap_or(&Value::Null);
    let mut hostnames = BTreeSet::new();
    let mut hosts_lost = match spec.get("hostnames") {
        None => has_unknown_field(value) || is_cut_off(spec),
        Some(Value::Array(_)) => false,
        Some(_) => true,
    };
    for host in spec.get("hostnames").and_then(Value::as_array).into_iter().flatten() {
        let parsed = host.as_str().and_then(|text| HostnamePattern::try_from(text.to_owned()).ok());
        hosts_lost |= parsed.is_none();
        hostnames.extend(parsed);
    }
    let mut rules: Vec<_> =
        spec.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate().map(read_rule).collect();
    if rules.is_empty() {
        rules.push(ValidRule::unreadable("unreadable".to_owned()));
    }
    let mut route = ValidRoute {
        generation: value.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0),
        age: PolicyAge::of_value(value),
        selector: read_selector(spec),
        hostnames,
        client_address: ClientAddress::Peer,
        cors: Cors::Refuse,
        pass_headers: BTreeSet::new(),
        upstream: NO_UPSTREAM,
        rules,
        closed: None,
    };
    if hosts_lost {
        route.cover_every_host();
    }
    route
}

fn read_selector(spec: &Value) -> Selector {
    let labels = spec.pointer("/workloadSelector/matchLabels").and_then(Value::as_object);
    let read = labels.and_then(|labels| {
        labels
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect::<Option<BTreeMap<_, _>>>()
    });
    read.filter(|labels| !labels.is_empty()).map_or(Selector::Unreadable, Selector::Labels)
}

fn read_rule((number, value): (usize, &Value)) -> ValidRule {
    let name = value.get("name").and_then(Value::as_str);
    let name = name.map_or_else(|| format!("unreadable-{number}"), str::to_owned);
    let mut rule = ValidRule::unreadable(name);
    let matches: Vec<_> =
        value.get("matches").and_then(Value::as_array).into_iter().flatten().flat_map(read_match).collect();
    if !matches.is_empty() {
        rule.matches = matches;
    }
    rule
}

fn read_match(value: &Value) -> Vec<Match> {
    let text = value.pointer("/path/value").and_then(Value::as_str).unwrap_or_default();
    let kind = value.pointer("/path/type").and_then(|kind| serde_json::from_value::<PathMatchType>(kind.clone()).ok());
    let Some(path) = kind.and_then(|kind| validate_path_text(kind, text).ok()) else { return vec![barrier(text)] };
    let method = |value: &Value| Method::try_from(value.as_str()?.to_owned()).ok();
    let (methods, methods_whole) = read_list(value.get("methods"), method);
    let header = |value: &Value| -> Option<HeaderMatch> {
        validate_header_text(value.get("name")?.as_str()?, value.get("value")?.as_str()?).ok()
    };
    let (headers, headers_whole) = read_list(value.get("headers"), header);
    // A field that is neither may be one of them, misspelt.
    let known = |name: &String| ["path", "methods", "headers"].contains(&name.as_str());
    let fields_known = value.as_object().is_some_and(|fields| fields.keys().all(known));
    cover_match(path, (methods, methods_whole && fields_known), (headers, headers_whole && fields_known))
}

/// What can be read of a list, and whether that is all of it.
fn read_list<T: Ord>(list: Option<&Value>, read: impl Fn(&Value) -> Option<T>) -> (BTreeSet<T>, bool) {
    match list {
        None => (BTreeSet::new(), true),
        Some(Value::Array(items)) => {
            let found: Vec<_> = items.iter().map(read).collect();
            let whole = found.iter().all(Option::is_some);
            (found.into_iter().flatten().collect(), whole)
        }
        Some(_) => (BTreeSet::new(), false),
    }
}
