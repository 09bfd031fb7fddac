//! The words of decision points: OpenID AuthZEN 1.0 section 6, the data API of Open Policy Agent, the JSON profile of
//! XACML 3.0 version 1.1 sections 4 and 5. Pure: a request in, a question out; an answer in, a decision out.

use portreeve_policy::{DecisionProtocol, ExternalRule};
use serde_json::{Map, Value, json};

use super::AuthorizationInput;
use crate::strict_json::parse_object;

/// What a decision point says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) permits: bool,
    /// Fields for the upstream, as far as the policy lets them through.
    pub(super) fields: Vec<Field>,
}

/// One field that is to go upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    /// Whether the permit hangs on it.
    pub(super) obliges: bool,
}

/// The question as a text, the same for the same attributes; `None` when an attribute cannot be told.
pub(super) fn question(rule: &ExternalRule, resource: &str, asked: &AuthorizationInput<'_>) -> Option<String> {
    let credential = asked.caller?;
    let claims = credential.claims();
    let (host, address, tls) = (asked.host?, asked.address?, asked.tls?);
    let object = claims.object();
    let mut told = Map::new();
    for (name, path) in &rule.claims {
        let value = match path.select(&object).as_slice() {
            [] => continue,
            [one] => (*one).clone(),
            several => Value::Array(several.iter().map(|one| (*one).clone()).collect()),
        };
        told.insert(name.clone(), value);
    }
    let mut headers = Map::new();
    for name in &rule.headers {
        let lines = asked.headers.get_all(name).iter().map(|line| line.to_str().ok());
        let lines = lines.collect::<Option<Vec<_>>>()?;
        if !lines.is_empty() {
            headers.insert(name.clone(), json!(lines));
        }
    }
    let parameters: Map<_, _> =
        asked.parameters.iter().map(|(name, value)| (name.to_owned(), Value::String(value.into_owned()))).collect();
    let subject = claims.subject().unwrap_or_default();
    let subject = json!({
        "type": "user", "id": subject,
        "properties": {"issuer": credential.origin().authority(), "client_id": claims.client_id(), "claims": told},
    });
    let action = json!({"name": asked.method});
    let resource = json!({
        "type": "rule", "id": resource,
        "properties": {"host": host, "path": asked.path, "parameters": parameters},
    });
    let context = json!({"address": address, "tls": tls, "headers": headers});
    let plain = json!({"subject": subject, "action": action, "resource": resource, "context": context});
    let question = match rule.protocol {
        DecisionProtocol::AuthZen => plain,
        DecisionProtocol::Opa => json!({ "input": plain }),
        DecisionProtocol::Xacml => xacml(&plain),
    };
    Some(question.to_string())
}

/// Categories by their shorthand names (JSON profile section 4.2.2.1).
fn xacml(plain: &Value) -> Value {
    let attribute = |id: &str, value: &Value| json!({"AttributeId": id, "Value": value});
    let text = |pointer: &str| plain.pointer(pointer).cloned().unwrap_or(Value::Null);
    let each = |prefix: &str, pointer: &str| -> Vec<Value> {
        let members = plain.pointer(pointer).and_then(Value::as_object);
        members.into_iter().flatten().map(|(name, value)| attribute(&format!("{prefix}{name}"), value)).collect()
    };
    let mut subject = vec![
        attribute("urn:oasis:names:tc:xacml:1.0:subject:subject-id", &text("/subject/id")),
        attribute("issuer", &text("/subject/properties/issuer")),
        attribute("client_id", &text("/subject/properties/client_id")),
    ];
    subject.retain(|one| !one["Value"].is_null());
    subject.extend(each("claim:", "/subject/properties/claims"));
    let mut resource = vec![
        attribute("urn:oasis:names:tc:xacml:1.0:resource:resource-id", &text("/resource/id")),
        attribute("host", &text("/resource/properties/host")),
        attribute("path", &text("/resource/properties/path")),
    ];
    resource.extend(each("parameter:", "/resource/properties/parameters"));
    let mut environment =
        vec![attribute("address", &text("/context/address")), attribute("tls", &text("/context/tls"))];
    environment.extend(each("header:", "/context/headers"));
    let action = [attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", &text("/action/name"))];
    json!({"Request": {
        "AccessSubject": [{"Attribute": subject}], "Action": [{"Attribute": action}],
        "Resource": [{"Attribute": resource}], "Environment": [{"Attribute": environment}],
    }})
}

/// Reads an answer. `None`: it is no decision, which is not the same as a refusal.
pub(super) fn read(protocol: DecisionProtocol, body: &[u8]) -> Option<Answer> {
    let members = parse_object(body)?;
    match protocol {
        DecisionProtocol::AuthZen => {
            let permits = members.get("decision")?.as_bool()?;
            let headers = members.get("context").and_then(|context| context.get("headers"));
            Some(Answer { permits, fields: advice(headers) })
        }
        // An undefined document has no `result`; that is how a policy says nothing at all.
        DecisionProtocol::Opa => match members.get("result")? {
            Value::Bool(permits) => Some(Answer { permits: *permits, fields: Vec::new() }),
            result @ Value::Object(_) => {
                Some(Answer { permits: result.get("allow")?.as_bool()?, fields: advice(result.get("headers")) })
            }
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        },
        DecisionProtocol::Xacml => read_xacml(members.get("Response")?),
    }
}

/// Fields that a decision point would like to see upstream.
fn advice(headers: Option<&Value>) -> Vec<Field> {
    let members = headers.and_then(Value::as_object).into_iter().flatten();
    let field = |(name, value): (&String, &Value)| {
        let value = value.as_str()?.to_owned();
        Some(Field { name: name.clone(), value, obliges: false })
    };
    members.filter_map(field).collect()
}

/// One result and no more: with several nobody can say which one counts.
fn read_xacml(response: &Value) -> Option<Answer> {
    let result = match response {
        Value::Array(list) => match list.as_slice() {
            [one] => one,
            _ => return None,
        },
        one @ Value::Object(_) => one,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    let permits = match result.get("Decision")?.as_str()? {
        "Permit" => true,
        "Deny" | "NotApplicable" => false,
        _ => return None,
    };
    let mut fields = Vec::new();
    for (member, obliges) in [("Obligations", true), ("AssociatedAdvice", false)] {
        for one in result.get(member).and_then(Value::as_array).into_iter().flatten() {
            let assignments = one.get("AttributeAssignment").and_then(Value::as_array).map(Vec::as_slice);
            let assignments = assignments.unwrap_or_default();
            if assignments.is_empty() && obliges {
                // Nothing that could be put into a field: an obligation by its name alone, which nobody here knows.
                let name = one.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
                fields.push(Field { name, value: String::new(), obliges });
            }
            for assignment in assignments {
                let text = |name: &str| assignment.get(name).and_then(Value::as_str).map(str::to_owned);
                match (text("AttributeId"), text("Value")) {
                    (Some(name), Some(value)) => fields.push(Field { name, value, obliges }),
                    _ if obliges => return None,
                    _ => {}
                }
            }
        }
    }
    Some(Answer { permits, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_permit() {
        use DecisionProtocol::{AuthZen, Opa, Xacml};
        for (protocol, body, permits) in [
            (AuthZen, r#"{"decision":true}"#, Some(true)),
            (AuthZen, r#"{"decision":false,"context":{"reason":"no"}}"#, Some(false)),
            (AuthZen, r#"{"decision":"true"}"#, None),
            (AuthZen, r#"{"decision":1}"#, None),
            (AuthZen, r#"{"decision":false,"decision":true}"#, None),
            (AuthZen, "{}", None),
            (AuthZen, "[true]", None),
            (AuthZen, "", None),
            (Opa, r#"{"result":true}"#, Some(true)),
            (Opa, r#"{"result":false}"#, Some(false)),
            (Opa, r#"{"result":{"allow":true}}"#, Some(true)),
            (Opa, r#"{"result":{"allowed":true}}"#, None),
            (Opa, r#"{"result":"true"}"#, None),
            (Opa, "{}", None),
            (Xacml, r#"{"Response":[{"Decision":"Permit"}]}"#, Some(true)),
            (Xacml, r#"{"Response":{"Decision":"Permit"}}"#, Some(true)),
            (Xacml, r#"{"Response":[{"Decision":"Deny"}]}"#, Some(false)),
            (Xacml, r#"{"Response":[{"Decision":"NotApplicable"}]}"#, Some(false)),
            (Xacml, r#"{"Response":[{"Decision":"Indeterminate"}]}"#, None),
            (Xacml, r#"{"Response":[{"Decision":"Permit"},{"Decision":"Deny"}]}"#, None),
            (Xacml, r#"{"Response":[]}"#, None),
            (Xacml, r#"{"Response":[{"Decision":"permit"}]}"#, None),
            (Xacml, r#"{"Response":[{"Decision":"Permit","Obligations":[{"AttributeAssignment":[{}]}]}]}"#, None),
        ] {
            assert_eq!(read(protocol, body.as_bytes()).map(|answer| answer.permits), permits, "{body}");
        }
    }

    #[test]
    fn obligations_bind_and_advice_does_not() {
        let body = json!({"Response": [{
            "Decision": "Permit",
            "Obligations": [
                {"Id": "filter", "AttributeAssignment": [{"AttributeId": "X-Row-Filter", "Value": "own"}]},
                {"Id": "log"},
            ],
            "AssociatedAdvice": [{"Id": "a", "AttributeAssignment": [{"AttributeId": "X-Hint", "Value": "b"}]}],
        }]});
        let answer = read(DecisionProtocol::Xacml, body.to_string().as_bytes()).unwrap();
        let field =
            |name: &str, value: &str, obliges| Field { name: name.to_owned(), value: value.to_owned(), obliges };
        let fields = vec![field("X-Row-Filter", "own", true), field("log", "", true), field("X-Hint", "b", false)];
        assert_eq!(answer.fields, fields);
    }
}
