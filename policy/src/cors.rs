//! Who answers cross-origin preflights (Fetch standard, section "HTTP CORS protocol").

use serde::{Deserialize, Serialize};

/// What becomes of a CORS preflight. Further forms, in which the proxy answers from the policy, are variants to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Cors {
    /// It is refused with 403; nothing of it reaches the application.
    #[default]
    Refuse,
    /// The application answers it: without body, query and credentials, and only its `Access-Control-*` fields go back.
    Passthrough,
}

impl Cors {
    /// Whether this is the only case in which nothing needs to be said.
    pub fn is_refuse(&self) -> bool {
        matches!(self, Self::Refuse)
    }
}
