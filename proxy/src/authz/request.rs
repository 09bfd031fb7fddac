//! Conditions on the request itself.

use portreeve_policy::{HeaderRule, HeaderTest, Judgement, ParameterRule, ParameterTest, RequestRule};

use super::AuthorizationInput;

/// Judges method, path parameters and headers.
pub(super) fn judge(rule: &RequestRule, asked: &AuthorizationInput<'_>) -> Judgement {
    let method = rule.methods.is_empty() || rule.methods.iter().any(|method| method.as_str() == asked.method);
    let parameters = rule.path_parameters.iter().map(|rule| parameter(rule, asked));
    let headers = rule.headers.iter().map(|rule| Judgement::of(header(rule, asked)));
    Judgement::all([Judgement::of(method)].into_iter().chain(parameters).chain(headers))
}

fn parameter(rule: &ParameterRule, asked: &AuthorizationInput<'_>) -> Judgement {
    let Some(value) = asked.parameters.get(&rule.name) else { return Judgement::Fault };
    match &rule.test {
        ParameterTest::In(list) => Judgement::of(list.contains(value.as_ref())),
        ParameterTest::EqualsClaim(path) => {
            let Some(credential) = asked.caller else { return Judgement::Fault };
            path.text(&credential.claims().object()).map_or(Judgement::Fault, |claim| Judgement::of(claim == value))
        }
    }
}

/// Line by line: a second line is looked at like the first (P9).
fn header(rule: &HeaderRule, asked: &AuthorizationInput<'_>) -> bool {
    let mut lines = asked.headers.get_all(&rule.name).iter().peekable();
    let some = lines.peek().is_some();
    match &rule.test {
        HeaderTest::Exists(wanted) => some == *wanted,
        HeaderTest::In(list) => some && lines.all(|line| line.to_str().is_ok_and(|line| list.contains(line))),
    }
}
