//! Cross-origin settings of an ApiRoute.

use std::collections::BTreeSet;

use portreeve_crds::v1alpha1::CorsSpec;
use portreeve_policy::{Cors, CorsRule, Millis, OriginPattern};

use super::Faults;
use crate::duration::parse_duration;

const PATH: &str = "spec.cors";

/// Longest that browsers may keep the answer to a preflight, in milliseconds.
const MAX_AGE: u128 = 24 * 3_600_000;

/// The settings. What is at fault makes nothing more open: the whole route refuses for it.
pub(super) fn validate_cors(faults: &mut Faults<'_>, spec: Option<&CorsSpec>) -> Cors {
    let Some(CorsSpec { passthrough, allow_origins, allow_headers, expose_headers, allow_credentials, max_age }) = spec
    else {
        return Cors::Refuse;
    };
    let Some(origins) = allow_origins else {
        if allow_headers.is_some() || expose_headers.is_some() || *allow_credentials || max_age.is_some() {
            faults.add(PATH, "allowHeaders, exposeHeaders, allowCredentials and maxAge go with allowOrigins");
        }
        return if *passthrough { Cors::Passthrough } else { Cors::Refuse };
    };
    if *passthrough {
        faults.add(format!("{PATH}.passthrough"), "set either passthrough: true or allowOrigins");
    }
    if origins.is_empty() {
        faults.add(format!("{PATH}.allowOrigins"), "name at least one origin");
    }
    let mut read = BTreeSet::new();
    for (i, origin) in origins.iter().enumerate() {
        read.extend(faults.take(&format!("{PATH}.allowOrigins[{i}]"), OriginPattern::try_from(origin.clone())));
    }
    if *allow_credentials && read.contains(&OriginPattern::Any) {
        faults.add(format!("{PATH}.allowCredentials"), "not with the origin \"*\": name the origins (Fetch standard)");
    }
    let max_age_seconds = max_age.as_ref().map_or(0, |text| {
        let length = parse_duration(text).map(Millis::duration).filter(|length| length.as_millis() <= MAX_AGE);
        let seconds = length.and_then(|length| u32::try_from(length.as_secs()).ok()).filter(|seconds| *seconds > 0);
        seconds.unwrap_or_else(|| {
            faults.add(format!("{PATH}.maxAge"), format!("{text:?} is not a duration from 1s to 24h, e.g. 10m"));
            0
        })
    });
    Cors::Answer(Box::new(CorsRule {
        origins: read,
        headers: names(faults, "allowHeaders", allow_headers.as_deref()),
        exposed: names(faults, "exposeHeaders", expose_headers.as_deref()),
        credentials: *allow_credentials,
        max_age_seconds,
    }))
}

fn names(faults: &mut Faults<'_>, field: &str, list: Option<&[String]>) -> BTreeSet<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
    let mut names = BTreeSet::new();
    for (i, name) in list.unwrap_or_default().iter().enumerate() {
        if name.is_empty() || !name.bytes().all(token) {
            faults.add(format!("{PATH}.{field}[{i}]"), format!("{name:?} is not the name of a header field"));
        } else {
            names.insert(name.to_ascii_lowercase());
        }
    }
    names
}
