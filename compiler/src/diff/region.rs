//! The requests that a match may meet, as far as host and path say.

use std::fmt;

use portreeve_policy::{HostnamePattern, Match, PathMatch, Reach, Route, TemplateSegment};

/// Where a match lies. Methods and headers narrow it further.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Region<'a> {
    /// None: any host.
    pub(super) host: Option<&'a HostnamePattern>,
    pub(super) matched: &'a Match,
}

/// Every host of a route; one entry for a route of any host.
pub(super) fn hosts(route: &Route) -> Vec<Option<&HostnamePattern>> {
    if route.hostnames.is_empty() { vec![None] } else { route.hostnames.iter().map(Some).collect() }
}

impl Region<'_> {
    /// Whether some request may lie in both. Methods and headers are left out: a path that has another method decides what
    /// becomes of a request too.
    pub(super) fn overlaps(&self, other: &Region<'_>) -> bool {
        let anywhere = |region: &Region<'_>| region.matched.reach == Reach::BarrierOnAnyHost;
        let hosts = anywhere(self) || anywhere(other) || hosts_meet(self.host, other.host);
        hosts && paths_meet(self.matched, other.matched)
    }

    /// Whether every request of `other` lies in this one; `false` where that is not plain to see.
    pub(super) fn covers(&self, other: &Region<'_>) -> bool {
        let host = match (self.host, other.host) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(HostnamePattern::Wildcard(wide)), Some(narrow)) => {
                let name = match narrow {
                    HostnamePattern::Exact(name) | HostnamePattern::Wildcard(name) => name.as_str(),
                };
                self.host == other.host || name.strip_suffix(wide.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (exact, other) => exact == other,
        };
        let (mine, theirs) = (&self.matched.methods, &other.matched.methods);
        let methods = mine.is_empty() || (!theirs.is_empty() && theirs.is_subset(mine));
        let headers = self.matched.headers.is_subset(&other.matched.headers);
        let path = match (&self.matched.path, &other.matched.path) {
            (PathMatch::Prefix(prefix), inner) => is_prefix(&segments_of(prefix.as_str()), &steps(inner)),
            (mine, theirs) => mine == theirs,
        };
        host && methods && headers && path
    }
}

impl fmt::Display for Region<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<_> = self.matched.methods.iter().map(ToString::to_string).collect();
        if !methods.is_empty() {
            write!(f, "{} ", methods.join(", "))?;
        }
        match self.host {
            None => f.write_str("any host")?,
            Some(host) => write!(f, "{host}")?,
        }
        match &self.matched.path {
            PathMatch::Exact(path) => write!(f, " {path}"),
            PathMatch::Prefix(path) => write!(f, " {path} and below"),
            PathMatch::Template(template) => write!(f, " {template}"),
        }
    }
}

fn hosts_meet(one: Option<&HostnamePattern>, other: Option<&HostnamePattern>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let below = |name: &str, domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match (one, other) {
        (HostnamePattern::Exact(one), HostnamePattern::Exact(other)) => one == other,
        (HostnamePattern::Exact(name), HostnamePattern::Wildcard(domain))
        | (HostnamePattern::Wildcard(domain), HostnamePattern::Exact(name)) => below(name.as_str(), domain.as_str()),
        (HostnamePattern::Wildcard(one), HostnamePattern::Wildcard(other)) => {
            one == other || below(one.as_str(), other.as_str()) || below(other.as_str(), one.as_str())
        }
    }
}

/// A segment of a path; `None` stands for any.
type Step<'a> = Option<&'a str>;

fn segments_of(path: &str) -> Vec<Step<'_>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(Some).collect()
}

fn steps<'a>(path: &'a PathMatch) -> Vec<Step<'a>> {
    match path {
        PathMatch::Exact(path) | PathMatch::Prefix(path) => segments_of(path.as_str()),
        PathMatch::Template(template) => {
            let step = |segment: &'a TemplateSegment| match segment {
                TemplateSegment::Literal(text) => Some(text.as_ref()),
                TemplateSegment::Parameter(_) => None,
            };
            template.segments().iter().map(step).collect()
        }
    }
}

fn is_prefix(prefix: &[Step<'_>], path: &[Step<'_>]) -> bool {
    prefix.len() <= path.len() && prefix.iter().zip(path).all(|(mine, theirs)| mine == theirs)
}

fn paths_meet(one: &Match, other: &Match) -> bool {
    // Of a path that could not be read only the beginning is known.
    let is_barrier = |matched: &Match| matches!(matched.reach, Reach::Barrier | Reach::BarrierOnAnyHost);
    let open = |matched: &Match| matches!(matched.path, PathMatch::Prefix(_)) || is_barrier(matched);
    let (first, second) = (steps(&one.path), steps(&other.path));
    let alike = first.iter().zip(&second).all(|(a, b)| a.is_none() || b.is_none() || a == b);
    let long_enough = match first.len().cmp(&second.len()) {
        std::cmp::Ordering::Less => open(one),
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Greater => open(other),
    };
    alike && long_enough
}
