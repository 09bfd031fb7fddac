//! From host and path to the rules that could apply, most specific first. Cost follows the length of the path, not the
//! number of routes.
//!
//! Order: the exact host, then the longest wildcard, then any host. Within a host: Exact, then Template and Prefix by
//! their segments from the left, a literal before a parameter, a longer path before a shorter one. Within one path: a
//! match with more headers, then one that names methods, then the older rule.
//!
//! Matches that a fault left unclear ([`Reach`]) refuse at least what they would cover if they could be read: a remainder
//! stands behind its equals, a barrier before everything but an Exact match.

use std::collections::{BTreeSet, HashMap};

use http::HeaderMap;
use portreeve_policy::{CanonicalPath, Hostname, HostnamePattern, Match, PathMatch, Reach, TemplateSegment};

/// Finds rules; `T` says which rule.
#[derive(Debug)]
pub(super) struct Router<T> {
    exact: HashMap<Hostname, Paths<T>>,
    wildcard: HashMap<Hostname, Paths<T>>,
    any: Paths<T>,
    /// Barriers of routes whose hostnames could not be read.
    everywhere: Option<Node<T>>,
}

/// What is claimed on one host, and what is closed there.
#[derive(Debug)]
struct Paths<T> {
    claims: Node<T>,
    barriers: Option<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    literals: HashMap<Box<str>, Self>,
    parameter: Option<Box<Self>>,
    /// Rules whose path ends here.
    whole: Vec<Candidate<T>>,
    /// Rules that cover everything from here on.
    prefix: Vec<Candidate<T>>,
}

#[derive(Debug)]
struct Candidate<T> {
    clause: Match,
    target: T,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed<T> {
    /// This rule.
    Found(T),
    /// The path is known, with these methods only.
    MethodNotAllowed(Vec<String>),
    /// Nobody claims it.
    NotFound,
}

/// The request, as far as rules look at it.
pub(super) struct RouteQuery<'a> {
    pub(super) host: &'a Hostname,
    pub(super) path: &'a CanonicalPath,
    pub(super) method: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// Fields that are not in the other map. A rule that matches one which its route does not let pass refuses.
    pub(super) withheld: &'a HeaderMap,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: HashMap::new(), parameter: None, whole: Vec::new(), prefix: Vec::new() }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Paths::default(), everywhere: None }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { claims: Node::default(), barriers: None }
    }
}

impl<T: Copy> Router<T> {
    /// Adds a clause for these hosts; without hosts, for any. Clauses are added in order of age.
    pub(super) fn insert<'a>(&mut self, hosts: impl Iterator<Item = &'a HostnamePattern>, clause: &Match, target: T) {
        if clause.reach == Reach::BarrierOnAnyHost {
            self.everywhere.get_or_insert_default().insert(clause, target);
            return;
        }
        let mut hosts = hosts.peekable();
        if hosts.peek().is_none() {
            self.any.insert(clause, target);
        }
        for host in hosts {
            let (table, name) = match host {
                HostnamePattern::Exact(name) => (&mut self.exact, name),
                HostnamePattern::Wildcard(name) => (&mut self.wildcard, name),
            };
            table.entry(name.clone()).or_default().insert(clause, target);
        }
    }

    /// Finds the rule for a request.
    pub(super) fn route(&self, wanted: &RouteQuery<'_>) -> Routed<T> {
        let mut methods = BTreeSet::new();
        for (place, paths) in self.tables(wanted.host) {
            if let Some(Hit { target, exact }) = paths.find(wanted, &mut methods) {
                let barrier = self.everywhere.as_ref().filter(|_| !exact || place == Place::Wider);
                let closed = barrier.and_then(|barriers| barriers.covering(wanted));
                return Routed::Found(closed.unwrap_or(target));
            }
        }
        if methods.is_empty() { Routed::NotFound } else { Routed::MethodNotAllowed(methods.into_iter().collect()) }
    }

    fn tables<'a>(&'a self, host: &'a Hostname) -> impl Iterator<Item = (Place, &'a Paths<T>)> {
        let parents = std::iter::successors(host.as_str().split_once('.'), |(_, rest)| rest.split_once('.'));
        let wildcards = parents.filter_map(|(_, parent)| self.wildcard.get(parent));
        let exact = self.exact.get(host).map(|paths| (Place::ExactHost, paths));
        exact.into_iter().chain(wildcards.chain([&self.any]).map(|paths| (Place::Wider, paths)))
    }
}

/// Which table of hosts a match was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    ExactHost,
    Wider,
}

/// A match that was found.
struct Hit<T> {
    target: T,
    /// Whether its path is an Exact one.
    exact: bool,
}

impl<T: Copy> Paths<T> {
    fn insert(&mut self, clause: &Match, target: T) {
        match clause.reach {
            Reach::Claim | Reach::Remainder => self.claims.insert(clause, target),
            Reach::Barrier | Reach::BarrierOnAnyHost => self.barriers.get_or_insert_default().insert(clause, target),
        }
    }

    fn find(&self, wanted: &RouteQuery<'_>, methods: &mut BTreeSet<String>) -> Option<Hit<T>> {
        let found = self.claims.find(wanted.path.as_str().get(1..), wanted, methods).map(|candidate| {
            let exact = matches!(candidate.clause.path, PathMatch::Exact(_));
            Hit { target: candidate.target, exact }
        });
        let closed = match (&found, &self.barriers) {
            (Some(Hit { exact: true, .. }), _) | (_, None) => None,
            (_, Some(barriers)) => barriers.covering(wanted),
        };
        closed.map(|target| Hit { target, exact: false }).or(found)
    }
}

impl<T: Copy> Node<T> {
    fn insert(&mut self, clause: &Match, target: T) {
        let mut node = self;
        match &clause.path {
            PathMatch::Exact(path) => {
                for segment in path.segments() {
                    node = node.literals.entry(segment.into()).or_default();
                }
            }
            PathMatch::Prefix(path) => {
                // The prefix `/` has no segment of its own.
                for segment in path.segments().filter(|segment| !segment.is_empty()) {
                    node = node.literals.entry(segment.into()).or_default();
                }
            }
            PathMatch::Template(template) => {
                for segment in template.segments() {
                    node = match segment {
                        TemplateSegment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                        TemplateSegment::Parameter(_) => node.parameter.get_or_insert_default(),
                    };
                }
            }
        }
        let candidate = Candidate { clause: clause.clone(), target };
        let list = if matches!(clause.path, PathMatch::Prefix(_)) { &mut node.prefix } else { &mut node.whole };
        list.push(candidate);
        list.sort_by_key(|held| {
            let Match { path: _, methods, headers, reach } = &held.clause;
            (std::cmp::Reverse(headers.len()), !reach.is_claim(), methods.is_empty())
        });
    }

    /// The barrier that a request meets; it looks at the path alone.
    fn covering(&self, wanted: &RouteQuery<'_>) -> Option<T> {
        let found = self.find(wanted.path.as_str().get(1..), wanted, &mut BTreeSet::new());
        found.map(|candidate| candidate.target)
    }

    /// `rest` is what is left of the path after the slash; `None` when it is used up. The depth is bounded by the
    /// depth of the table, not by the request.
    fn find(
        &self,
        rest: Option<&str>,
        wanted: &RouteQuery<'_>,
        methods: &mut BTreeSet<String>,
    ) -> Option<&Candidate<T>> {
        let deeper = match rest {
            None => first(&self.whole, wanted, methods),
            Some(rest) => {
                let (segment, tail) =
                    rest.split_once('/').map_or((rest, None), |(segment, tail)| (segment, Some(tail)));
                let literal = self.literals.get(segment).and_then(|node| node.find(tail, wanted, methods));
                literal.or_else(|| {
                    let node = self.parameter.as_ref().filter(|_| !segment.is_empty())?;
                    node.find(tail, wanted, methods)
                })
            }
        };
        deeper.or_else(|| first(&self.prefix, wanted, methods))
    }
}

fn first<'a, T>(
    list: &'a [Candidate<T>],
    wanted: &RouteQuery<'_>,
    methods: &mut BTreeSet<String>,
) -> Option<&'a Candidate<T>> {
    for candidate in list {
        let clause = &candidate.clause;
        let headers = clause.headers.iter().all(|header| {
            let withheld = wanted.withheld.get_all(&header.name).iter();
            let mut lines = wanted.headers.get_all(&header.name).iter().chain(withheld);
            lines.next().is_some_and(|line| line.as_bytes() == header.value.as_bytes()) && lines.next().is_none()
        });
        if !headers {
            continue;
        }
        if clause.methods.is_empty() || clause.methods.iter().any(|method| method.as_str() == wanted.method) {
            return Some(candidate);
        }
        methods.extend(clause.methods.iter().map(ToString::to_string));
    }
    None
}

#[cfg(test)]
mod tests;
