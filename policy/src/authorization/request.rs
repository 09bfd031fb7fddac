//! Conditions on the request itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ClaimPath;
use crate::Method;

/// What must be true of method, path parameters and headers. Every part must hold; an empty part asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRule {
    /// The method is one of these.
    pub methods: BTreeSet<Method>,
    /// Parameters of the path template that matched.
    pub path_parameters: Vec<ParameterRule>,
    /// Header fields, line by line: never joined, so that a second line hides nothing (P9).
    pub headers: Vec<HeaderRule>,
}

/// One path parameter. A request whose template has no such parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParameterRule {
    /// Name in the template.
    pub name: String,
    /// What must be true of its value, percent-decoded.
    pub test: ParameterTest,
}

/// What must be true of a path parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ParameterTest {
    /// The text that this claim holds.
    EqualsClaim(ClaimPath),
    /// One of these.
    In(BTreeSet<String>),
}

/// One header field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderRule {
    /// Field name in lower case.
    pub name: String,
    /// What must be true of its lines.
    pub test: HeaderTest,
}

/// What must be true of the lines of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HeaderTest {
    /// There is one, or there is none.
    Exists(bool),
    /// There is one, and every one is one of these.
    In(BTreeSet<String>),
}

impl RequestRule {
    /// Whether it compares with claims.
    pub fn needs_caller(&self) -> bool {
        self.path_parameters.iter().any(ParameterRule::needs_caller)
    }

    /// The same without what is compared with claims; `None` when nothing else is asked.
    pub(super) fn without_caller(&self) -> Option<Self> {
        let mut kept = self.clone();
        kept.path_parameters.retain(|rule| !rule.needs_caller());
        let asks = !(kept.methods.is_empty() && kept.path_parameters.is_empty() && kept.headers.is_empty());
        asks.then_some(kept)
    }
}

impl ParameterRule {
    fn needs_caller(&self) -> bool {
        matches!(self.test, ParameterTest::EqualsClaim(_))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: &serde_json::Value) -> RequestRule {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn without_a_caller_everything_else_is_still_asked() {
        let (claim, fixed) =
            (json!({"name": "id", "test": {"equalsClaim": "$.sub"}}), json!({"name": "v", "test": {"in": ["1"]}}));
        let header = json!({"name": "x-a", "test": {"exists": true}});
        for (methods, parameters, headers, kept) in [
            (json!([]), json!([claim]), json!([]), None),
            (json!(["GET"]), json!([claim]), json!([]), Some(json!([]))),
            (json!([]), json!([claim]), json!([header]), Some(json!([]))),
            (json!([]), json!([claim, fixed]), json!([]), Some(json!([fixed]))),
        ] {
            let asked = rule(&json!({"methods": methods, "pathParameters": parameters, "headers": headers}));
            let wanted =
                kept.map(|kept| rule(&json!({"methods": methods, "pathParameters": kept, "headers": headers})));
            assert_eq!(asked.without_caller(), wanted, "{methods} {parameters} {headers}");
        }
    }
}
