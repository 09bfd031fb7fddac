# What the entitlement service decides for tests. The input is what docs/authorization.md says.
package orders

default allow := false

# GET for everybody who is known, but not of the order that nobody may see.
allow if {
	input.action.name == "GET"
	input.subject.properties.client_id != ""
	input.resource.properties.path != "/decided/secret"
}

# An object: the decision, and a field for the upstream.
decision := {"allow": allow, "headers": {"X-Row-Filter": "tenant=acme", "X-Evil": "1"}}

# Neither true nor an object.
odd := "yes"

# A rule that cannot be evaluated: two values for one rule.
broken := 1 if input.action.name == "GET"

broken := 2 if input.resource.type == "rule"
