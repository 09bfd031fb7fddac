//! Policies in dry run: what would be decided if they were enforced.

use serde::{Deserialize, Serialize};

use crate::{PolicyOrigin, RuleState};

/// A policy that is evaluated and recorded beside the one in force, and never decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// The policy in dry run.
    pub policy: PolicyOrigin,
    /// What would be in force with it.
    pub state: RuleState,
}
