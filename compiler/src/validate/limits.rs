//! The limits block of an ApiPolicy, from the words of the API into rates and keys.

use std::collections::BTreeSet;

use portreeve_crds::v1alpha1::{
    AbsentKeySpec, LimitKeySpec, LimitKeyType, LimitsSpec, PeriodSpec, RateLimitSpec, RateSpec, SpikeArrestSpec,
    SpikeKeySpec, SpikePeriodSpec,
};
use portreeve_policy::{
    AbsentKey, ClaimPath, LimitKey, LimitRules, MAX_RATES, NamespacedName, Period, Rate, RateLimit, SpikeArrest,
};

use super::Faults;

const PATH: &str = "spec.limits";

/// Most limits of a policy, as in the CustomResourceDefinition.
const MAX_LIMITS: usize = 8;

/// Most parts of a key, as in the CustomResourceDefinition.
const MAX_KEY_PARTS: usize = 4;

pub(super) fn validate_limits(
    faults: &mut Faults<'_>,
    policy: Option<NamespacedName>,
    spec: &LimitsSpec,
) -> Option<LimitRules> {
    let LimitsSpec { spike_arrest, rate_limits } = spec;
    if spike_arrest.is_none() && rate_limits.as_ref().is_none_or(Vec::is_empty) {
        faults.add(PATH, "set at least one of spikeArrest and rateLimits");
        return None;
    }
    let spike = spike_arrest.as_ref().map(|spec| validate_spike_arrest(faults, spec));
    let mut limits = Vec::new();
    let mut names = BTreeSet::new();
    for (i, limit) in rate_limits.iter().flatten().enumerate() {
        let path = format!("{PATH}.rateLimits[{i}]");
        if !names.insert(&limit.name) {
            faults.add(format!("{path}.name"), format!("duplicate name {:?}", limit.name));
        }
        limits.push(validate_limit(faults, &path, limit));
    }
    if limits.len() > MAX_LIMITS {
        faults.add(format!("{PATH}.rateLimits"), format!("at most {MAX_LIMITS} limits"));
    }
    let spike_arrest = match spike {
        None => SpikeArrest::None,
        Some(rule) => rule?,
    };
    Some(LimitRules { policy: policy?, spike_arrest, rate_limits: limits })
}

fn validate_spike_arrest(faults: &mut Faults<'_>, spec: &SpikeArrestSpec) -> Option<SpikeArrest> {
    let (per, tenth) = match spec.per {
        SpikePeriodSpec::Second => (Period::Second, 10),
        SpikePeriodSpec::Minute => (Period::Minute, 600),
    };
    let burst = spec.burst.unwrap_or_else(|| spec.requests.div_ceil(tenth).max(1));
    let rate = faults.take(&format!("{PATH}.spikeArrest"), Rate::new(spec.requests, per, burst))?;
    Some(match spec.key {
        SpikeKeySpec::ClientAddress => SpikeArrest::PerClientAddress(rate),
        SpikeKeySpec::Everyone => SpikeArrest::Together(rate),
    })
}

fn validate_limit(faults: &mut Faults<'_>, path: &str, spec: &RateLimitSpec) -> RateLimit {
    let RateLimitSpec { name, key, absent_key, rates } = spec;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) || name.starts_with('-') || name.ends_with('-') {
        faults.add(format!("{path}.name"), format!("{name:?} is not 1 to 40 of a-z, 0-9 and `-` between them"));
    }
    let mut parts = Vec::new();
    for (i, part) in key.iter().enumerate() {
        let at = format!("{path}.key[{i}]");
        let Some(part) = validate_key(faults, &at, part) else { continue };
        if parts.contains(&part) {
            faults.add(at, "duplicate part of the key");
        } else {
            parts.push(part);
        }
    }
    if key.is_empty() || key.len() > MAX_KEY_PARTS {
        faults
            .add(format!("{path}.key"), format!("name 1 to {MAX_KEY_PARTS} parts; type Everyone counts all together"));
    }
    if parts.contains(&LimitKey::Everyone) && parts.len() > 1 {
        faults.add(format!("{path}.key"), "Everyone goes with no other part");
    }
    let read: Vec<Rate> = rates
        .iter()
        .enumerate()
        .filter_map(|(i, rate)| validate_rate(faults, &format!("{path}.rates[{i}]"), rate))
        .collect();
    if rates.is_empty() || rates.len() > MAX_RATES {
        faults.add(format!("{path}.rates"), format!("name 1 to {MAX_RATES} rates"));
    }
    let periods: BTreeSet<_> = read.iter().map(Rate::per).collect();
    if periods.len() < read.len() {
        faults.add(format!("{path}.rates"), "two rates have the same period");
    }
    let absent_key = match absent_key {
        AbsentKeySpec::Refuse => AbsentKey::Refuse,
        AbsentKeySpec::Share => AbsentKey::Share,
    };
    RateLimit { name: name.clone(), key: parts, absent_key, rates: read }
}

fn validate_key(faults: &mut Faults<'_>, path: &str, spec: &LimitKeySpec) -> Option<LimitKey> {
    let LimitKeySpec { type_, name, path: claim } = spec;
    let named = matches!(type_, LimitKeyType::Header | LimitKeyType::PathParameter);
    if claim.is_some() != (*type_ == LimitKeyType::Claim) {
        faults.add(format!("{path}.path"), "path goes with type Claim, and type Claim needs it");
    }
    if name.is_some() != named {
        faults.add(format!("{path}.name"), "name goes with type Header and type PathParameter, which need it");
    }
    let name = name.as_deref().unwrap_or_default();
    Some(match type_ {
        LimitKeyType::Application => LimitKey::Application,
        LimitKeyType::Claim => {
            let text = claim.clone()?;
            LimitKey::Claim(faults.take(&format!("{path}.path"), ClaimPath::try_from(text))?)
        }
        LimitKeyType::ClientAddress => LimitKey::ClientAddress,
        LimitKeyType::Everyone => LimitKey::Everyone,
        LimitKeyType::Header => {
            let lower = name.to_ascii_lowercase();
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if lower.is_empty() || !lower.bytes().all(token) {
                faults.add(format!("{path}.name"), format!("{name:?} is not the name of a header field"));
                return None;
            }
            LimitKey::Header(lower)
        }
        LimitKeyType::PathParameter if name.is_empty() => return None,
        LimitKeyType::PathParameter => LimitKey::PathParameter(name.to_owned()),
        LimitKeyType::Subject => LimitKey::Subject,
    })
}

fn validate_rate(faults: &mut Faults<'_>, path: &str, spec: &RateSpec) -> Option<Rate> {
    let per = match spec.per {
        PeriodSpec::Second => Period::Second,
        PeriodSpec::Minute => Period::Minute,
        PeriodSpec::Hour => Period::Hour,
        PeriodSpec::Day => Period::Day,
    };
    faults.take(path, Rate::new(spec.requests, per, spec.burst.unwrap_or(spec.requests)))
}
