//! What a rule asks of a request before its policy is looked at.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{CanonicalPath, Method, PathTemplate};

/// One clause of a rule; all its parts must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The methods; empty means every method that can be forwarded at all.
    pub methods: BTreeSet<Method>,
    /// Headers that must be present with exactly these values.
    pub headers: BTreeSet<HeaderMatch>,
    /// How it competes with other matches of the same pod.
    #[serde(default, skip_serializing_if = "Reach::is_claim")]
    pub reach: Reach,
}

/// How a match competes with others. All but [`Reach::Claim`] stand for what a fault or a conflict left unclear, so
/// they are found only in rules that refuse.
///
/// INVARIANT: a match that cannot be read in full covers at least the requests that it would cover if it could be read, so
/// that none of them falls to a broader match of another route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// By specificity, as documented: the ordinary case.
    #[default]
    Claim,
    /// Like a claim, but behind every claim of the same path and number of headers. For a match whose methods or headers
    /// could not be read, and for what is left of one that lost a conflict.
    Remainder,
    /// Before everything that is found on the same hosts, but for an Exact match. For a path that could not be read: `path`
    /// is as much of it as could.
    Barrier,
    /// Before everything that is found on any host, but for an Exact match of an exact host. For hostnames that could not
    /// be read.
    BarrierOnAnyHost,
}

impl Reach {
    /// Whether this is the ordinary case.
    pub fn is_claim(&self) -> bool {
        *self == Self::Claim
    }
}

/// How a path is compared. Always against the canonical path, never against query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PathMatch {
    /// The whole path, byte for byte.
    Exact(CanonicalPath),
    /// Whole segments from the start: `/orders` covers `/orders` and `/orders/7`, not `/orders7`.
    Prefix(CanonicalPath),
    /// A path in which `{name}` stands for one non-empty segment.
    Template(PathTemplate),
}

/// A header that must be there with exactly one line of exactly this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// The field name in lower case.
    pub name: String,
    /// The value, compared byte for byte.
    pub value: String,
}
