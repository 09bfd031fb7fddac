//! Stage: fields of the caller that only others may set.

use http::HeaderMap;

use crate::pipeline::runtime::RuleRuntime;

/// Takes out the caller's copies of fields that only a decision point sets, before anybody looks at them (H3).
pub(in crate::pipeline) fn remove_decided_fields(headers: &mut HeaderMap, rule: &RuleRuntime) {
    let Some(guard) = rule.state.guard() else { return };
    guard.authorizer.owned_fields().for_each(|name| drop(headers.remove(name)));
}
