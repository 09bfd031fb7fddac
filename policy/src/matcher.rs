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
