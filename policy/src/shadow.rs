//! Policies on trial: what would be decided if they were in force.

use serde::{Deserialize, Serialize};

use crate::{Access, PolicyOrigin};

/// A policy that is judged and recorded beside the one in force, and never decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// The policy on trial.
    pub policy: PolicyOrigin,
    /// What would be in force with it.
    pub access: Access,
}
