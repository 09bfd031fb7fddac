//! A decision point outside (an entitlement management system).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ClaimPath;
use crate::{AddressRange, Millis};

/// Whom to ask, what to tell it, and what counts when it does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalRule {
    /// What it speaks.
    pub protocol: DecisionProtocol,
    /// URL that is asked.
    pub endpoint: String,
    /// Certificate authorities in PEM; empty means those of the machine.
    pub ca_certificates: String,
    /// Where the endpoint may be.
    pub addresses: AddressRange,
    /// For the whole question, a second try included.
    pub timeout: Millis,
    /// What an endpoint that cannot be asked, or answers nonsense, means.
    pub failure_mode: FailureMode,
    /// Claims that are told, by the name under which they are told.
    pub claims: BTreeMap<String, ClaimPath>,
    /// Header fields in lower case that are told.
    pub headers: BTreeSet<String>,
    /// Header fields in lower case that obligations and advice may set for the upstream.
    pub upstream_headers: BTreeSet<String>,
}

/// The protocols of decision points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DecisionProtocol {
    /// OpenID AuthZEN 1.0, Access Evaluation.
    AuthZen,
    /// Open Policy Agent, data API version 1.
    Opa,
    /// XACML 3.0, JSON profile 1.1.
    Xacml,
}

/// What no decision means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureMode {
    /// Refused.
    Deny,
    /// Let through, as if the block were not there.
    Permit,
}
