//! Attribute rules in Cedar: the text, and what it may look at. The schema follows from this alone, so that compiler and
//! proxy speak of the same entities.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ClaimPath;

/// Policies of one rule. They were checked against [`CedarRule::schema`] before they came here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CedarRule {
    /// The policies, as text.
    pub text: String,
    /// Attributes of the principal beside the fixed ones, by name.
    pub claims: BTreeMap<String, ClaimAttribute>,
    /// Where the claims hold the roles; each becomes a parent `Role`.
    pub roles: Option<ClaimPath>,
    /// Where the claims hold the groups; each becomes a parent `Group`.
    pub groups: Option<ClaimPath>,
    /// Path parameters that stand in `resource.parameters`.
    pub path_parameters: BTreeSet<String>,
    /// Header fields in lower case that stand in `context.headers`.
    pub headers: BTreeSet<String>,
    /// What the text looks at, as the compiler found it. Only this is worked out for a request.
    pub reads: BTreeSet<CedarRead>,
}

/// A typed claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimAttribute {
    /// Which claim.
    pub path: ClaimPath,
    /// Its type. A claim of another type refuses the request.
    pub kind: ClaimType,
    /// Whether a token may lack it. A token that lacks another one is refused.
    pub optional: bool,
}

/// Types of claims in Cedar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ClaimType {
    /// `Bool`
    Boolean,
    /// `Long`: a whole number of 64 bits.
    Long,
    /// `Set<String>`
    SetOfString,
    /// `String`
    String,
}

/// What a text looks at beside the principal and the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CedarRead {
    /// `context.address`
    Address,
    /// `context.headers`
    Headers,
    /// `context.host`
    Host,
    /// `context.path`
    Path,
    /// Attributes or ancestors of `resource`.
    Resource,
    /// `context.time`
    Time,
    /// `context.tls`
    Tls,
}

/// Methods that have an action; a request of another method is refused.
pub const CEDAR_ACTIONS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// Attributes that every principal can have; no claim can take their names.
pub const CEDAR_PRINCIPAL: [&str; 4] = ["client", "issuer", "scopes", "sub"];

impl CedarRead {
    /// Everything that there is to look at.
    pub const ALL: [Self; 7] =
        [Self::Address, Self::Headers, Self::Host, Self::Path, Self::Resource, Self::Time, Self::Tls];

    /// The attribute of `context`; `None` for the resource.
    pub fn context_attribute(self) -> Option<&'static str> {
        match self {
            Self::Address => Some("address"),
            Self::Headers => Some("headers"),
            Self::Host => Some("host"),
            Self::Path => Some("path"),
            Self::Time => Some("time"),
            Self::Tls => Some("tls"),
            Self::Resource => None,
        }
    }
}

impl CedarRule {
    /// The schema in Cedar's own notation.
    pub fn schema(&self) -> String {
        let mut text =
            "entity Role;\nentity Group;\nentity Client;\nentity Route;\nentity User in [Role, Group] = {\n  \
                        \"issuer\": String,\n  \"sub\"?: String,\n  \"client\"?: Client,\n  \"scopes\": Set<String>,\n"
                .to_owned();
        for (name, ClaimAttribute { kind, optional, .. }) in &self.claims {
            let kind = match kind {
                ClaimType::Boolean => "Bool",
                ClaimType::Long => "Long",
                ClaimType::SetOfString => "Set<String>",
                ClaimType::String => "String",
            };
            let mark = if *optional { "?" } else { "" };
            text.push_str(&format!("  \"{name}\"{mark}: {kind},\n"));
        }
        text.push_str("};\nentity Rule in [Route] = {\n  \"parameters\": {\n");
        for name in &self.path_parameters {
            text.push_str(&format!("    \"{name}\"?: String,\n"));
        }
        let actions = CEDAR_ACTIONS.map(|name| format!("\"{name}\"")).join(", ");
        text.push_str("  },\n};\n");
        text.push_str(&format!(
            "action {actions} appliesTo {{\n  principal: [User],\n  resource: [Rule],\n  context: {{\n"
        ));
        text.push_str(
            "    \"address\": ipaddr,\n    \"time\": datetime,\n    \"tls\": Bool,\n    \"host\": String,\n    \"path\": \
             String,\n    \"headers\": {\n",
        );
        for name in &self.headers {
            text.push_str(&format!("      \"{name}\"?: Set<String>,\n"));
        }
        text.push_str("    },\n  },\n};\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_has_everything_that_a_rule_declares_and_the_context_has_its_attributes() {
        let rule: CedarRule = serde_json::from_value(json!({
            "text": "", "roles": null, "groups": null, "pathParameters": ["id"], "headers": ["x-a"], "reads": [],
            "claims": {
                "level": {"path": "$.level", "kind": "Long", "optional": true},
                "roles": {"path": "$.roles", "kind": "SetOfString", "optional": false},
                "staff": {"path": "$.staff", "kind": "Boolean", "optional": false},
                "tenant": {"path": "$.tenant", "kind": "String", "optional": true},
            },
        }))
        .unwrap();
        let schema = rule.schema();
        for line in [
            "  \"level\"?: Long,",
            "  \"roles\": Set<String>,",
            "  \"staff\": Bool,",
            "  \"tenant\"?: String,",
            "    \"id\"?: String,",
            "      \"x-a\"?: Set<String>,",
            "action \"DELETE\", \"GET\", \"HEAD\", \"OPTIONS\", \"PATCH\", \"POST\", \"PUT\" appliesTo {",
        ] {
            assert!(schema.lines().any(|found| found == line), "{line} in\n{schema}");
        }
        for read in CedarRead::ALL {
            let named = read.context_attribute();
            let in_context = named.is_none_or(|name| schema.contains(&format!("    \"{name}\": ")));
            assert!(in_context && (named.is_none() == (read == CedarRead::Resource)), "{read:?}");
        }
        let names: BTreeSet<_> = CedarRead::ALL.into_iter().filter_map(CedarRead::context_attribute).collect();
        assert_eq!(names, BTreeSet::from(["address", "headers", "host", "path", "time", "tls"]));
    }
}
