use portreeve_policy::gate::{CEDAR_BRACKETS, CEDAR_DEPTH};

use super::*;

fn rule(text: String) -> CedarRule {
    CedarRule {
        text,
        claims: BTreeMap::new(),
        roles: None,
        groups: None,
        path_parameters: BTreeSet::new(),
        headers: BTreeSet::new(),
        reads: BTreeSet::new(),
    }
}

fn shapes(depth: usize, chain: usize) -> Vec<(&'static str, String)> {
    let policy = |body: String| format!("permit(principal, action, resource) when {{ {body} }};");
    vec![
        ("brackets", policy(format!("{}true{}", "(".repeat(depth), ")".repeat(depth)))),
        ("sets", policy(format!("{}true{}", "[".repeat(depth), "]".repeat(depth)))),
        ("records", policy(format!("{}true{}", "{a:".repeat(depth), "}".repeat(depth)))),
        ("sums", policy(format!("{}1 == 2", "1+".repeat(chain)))),
        ("members", policy(format!("principal{}", ".b".repeat(chain)))),
        ("conjunctions", policy(format!("{}true", "true&&".repeat(chain)))),
        ("negations", policy(format!("{}true", "!".repeat(chain)))),
        ("conditions", policy(format!("{}true", "if true then true else ".repeat(depth)))),
        ("clauses", format!("permit(principal, action, resource){};", " when {true}".repeat(depth))),
    ]
}

/// The threads of a test have the 2 MiB of stack that the operator's threads have.
#[test]
fn c1_what_the_gate_lets_through_fits_the_stack_d7() {
    // What stands around the shapes, `permit(…) when {…}`, takes four levels.
    for (shape, text) in shapes(CEDAR_BRACKETS - 1, CEDAR_DEPTH - 6) {
        let found = check(&rule(text));
        let gated = found.as_ref().err().into_iter().flatten().any(|(_, message)| message.contains("nested, or"));
        assert!(!gated, "{shape}: the gate is narrower than it says: {found:?}");
    }
}

#[test]
fn c1_deep_and_long_texts_are_faults_with_a_place_d7() {
    for (shape, text) in shapes(160, 16_000 / 12) {
        let found = check(&rule(text)).unwrap_err();
        let [(place, message)] = found.as_slice() else { panic!("{shape}: {found:?}") };
        assert!(place.is_some() || message.contains("bytes"), "{shape}: {message}");
        assert!(["nested", "bytes"].iter().any(|word| message.contains(word)), "{shape}: {message}");
    }
}
