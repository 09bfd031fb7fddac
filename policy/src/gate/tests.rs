use super::*;

fn policy(body: &str) -> String {
    format!("permit(principal, action, resource) when {{ {body} }};")
}

#[test]
fn cedar_that_people_write_passes() {
    for body in [
        "principal.tenant == \"acme\" && context.tls",
        "principal in Role::\"clerk\" || [1, 2, 3].contains(principal.level)",
        "if principal has level then principal.level >= 3 else false",
        "context.headers has \"x-a\" && context.headers[\"x-a\"] like \"((((((((((((((((((((((((((((((((((((((((*\"",
        "// ((((((((((((((((((((((((((((((((((((((((((((\n true",
    ] {
        assert_eq!(cedar(&policy(body)), Ok(()), "{body}");
    }
    assert_eq!(cedar(&policy("a.b && c.d || !e").repeat(60)), Ok(()), "each policy is counted by itself");
    let either = vec!["principal.tenant == \"acme\""; 80].join(" || ");
    assert_eq!(cedar(&policy(&either)), Ok(()), "comparisons do not nest");
    let list = vec!["User::\"https://login.example.com#ann\""; 300].join(", ");
    assert_eq!(cedar(&policy(&format!("principal in [{list}]"))), Ok(()), "elements do not nest");
}

#[test]
fn c1_every_shape_on_which_the_cedar_parser_recurses_is_refused_d7() {
    let deep = CEDAR_BRACKETS + 1;
    let long = CEDAR_DEPTH + 1;
    for (shape, text) in [
        ("brackets", policy(&format!("{}true{}", "(".repeat(deep), ")".repeat(deep)))),
        ("sets", policy(&format!("{}{}", "[".repeat(deep), "]".repeat(deep)))),
        ("records", policy(&format!("{}{}", "{a:".repeat(deep), "}".repeat(deep)))),
        ("sums", policy(&"1+".repeat(long))),
        ("members", policy(&format!("a{}", ".b".repeat(long)))),
        ("conjunctions", policy(&"a&&".repeat(long))),
        ("disjunctions", policy(&"a||".repeat(long))),
        ("negations", policy(&format!("{}a", "!".repeat(long)))),
        ("minus signs", policy(&format!("{}1", "-".repeat(long)))),
        ("conditions", policy(&"if a then b else ".repeat(long))),
        ("memberships", policy(&"a in ".repeat(long))),
        ("attributes", policy(&"a has ".repeat(long))),
        ("index chains", policy(&format!("a{}", "[\"b\"]".repeat(long)))),
        ("chains in chains", policy(&format!("{}a{}", "(".repeat(20), "+b+c+d+e+f)".repeat(20)))),
        ("chains in brackets", policy(&format!("{}a{}", "(b+c+d+e+f+".repeat(20), ")".repeat(20)))),
        ("clauses", format!("permit(principal, action, resource){};", " when {true}".repeat(long))),
        ("annotations", format!("{}permit(principal, action, resource);", "@a(\"b\")".repeat(long))),
        ("bytes", policy(&"a".repeat(CEDAR_BYTES))),
        ("brackets behind a semicolon", format!(";{}", "(;".repeat(deep))),
    ] {
        assert!(cedar(&text).is_err(), "{shape}");
    }
}

#[test]
fn c2_nested_json_paths_are_refused_before_they_are_parsed_d4() {
    for (path, good) in [
        ("$.a[?(@.b[0] == 1)]".to_owned(), true),
        ("$['[[[[[[[[']".to_owned(), true),
        (format!("${}[0]{}", "[?@".repeat(40), "]".repeat(40)), false),
        (format!("$[?{}@.a{}]", "(".repeat(5), ")".repeat(5)), false),
        (format!("$[?{}@.a{}]", "!(".repeat(5), ")".repeat(5)), false),
        (format!("$.{}", "a".repeat(JSON_PATH_BYTES)), false),
    ] {
        assert_eq!(json_path(&path).is_ok(), good, "{path}");
    }
}

#[test]
fn a_gate_says_where_it_closed() {
    assert_eq!(json_path("$[[[[["), Err((5, TooCostly::Depth(JSON_PATH_DEPTH))));
    let text = format!("true;{}", "!".repeat(300));
    assert_eq!(cedar(&text), Err((5 + CEDAR_DEPTH, TooCostly::Depth(CEDAR_DEPTH))));
}

#[test]
fn what_is_just_within_a_bound_passes() {
    let padded = |length: usize| {
        let text = policy("true");
        format!("{text}//{}", "x".repeat(length - text.len() - 2))
    };
    assert_eq!(cedar(&padded(CEDAR_BYTES)), Ok(()));
    assert_eq!(cedar(&padded(CEDAR_BYTES + 1)), Err((CEDAR_BYTES, TooCostly::Bytes(CEDAR_BYTES))));
    let brackets = |count: usize| cedar(&format!("{}{}", "(".repeat(count), ")".repeat(count)));
    assert_eq!(brackets(CEDAR_BRACKETS), Ok(()));
    assert_eq!(brackets(CEDAR_BRACKETS + 1), Err((CEDAR_BRACKETS, TooCostly::Depth(CEDAR_BRACKETS))));
    let path = |length: usize| json_path(&format!("$.{}", "a".repeat(length - 2)));
    assert_eq!(path(JSON_PATH_BYTES), Ok(()));
    assert_eq!(path(JSON_PATH_BYTES + 1), Err((JSON_PATH_BYTES, TooCostly::Bytes(JSON_PATH_BYTES))));
    let nested = |count: usize| json_path(&format!("${}{}", "[".repeat(count), "]".repeat(count)).repeat(3));
    assert!(nested(JSON_PATH_DEPTH).is_ok() && nested(JSON_PATH_DEPTH + 1).is_err(), "what was closed counts no more");
}

#[test]
fn elements_and_statements_do_not_nest_in_what_came_before() {
    let members = vec!["principal.a.b"; 200].join(", ");
    assert_eq!(cedar(&policy(&format!("x in [{members}]"))), Ok(()));
    assert_eq!(cedar(&policy("a.b").repeat(200)), Ok(()));
    // The deepest element counts, wherever it stands.
    let deep = format!("a{}", ".b".repeat(CEDAR_DEPTH));
    for list in [format!("[{deep}, x]"), format!("[x, {deep}]"), format!("[x, [{deep}], y]")] {
        assert!(cedar(&policy(&list)).is_err(), "{list}");
    }
    let half = format!("a{}", ".b".repeat(CEDAR_DEPTH / 2 + 1));
    assert!(
        cedar(&format!("{}[{half}, x].{half}", "(".repeat(3))).is_err(),
        "a list leaves its depth to what follows it"
    );
}

#[test]
fn what_stands_in_texts_and_comments_is_no_structure() {
    let brackets = "(".repeat(CEDAR_BRACKETS + 1);
    assert_eq!(cedar(&policy(&format!("a == \"\\\"{brackets}\""))), Ok(()), "an escaped quote does not end a text");
    assert!(cedar(&policy(&format!("a == \"\\\\\" && {brackets}"))).is_err(), "an escaped backslash does");
    assert!(cedar(&format!("1 / {brackets}")).is_err(), "one slash is no comment");
    assert!(cedar(&format!("1 // 2\n{brackets}")).is_err(), "a comment ends with its line");
    assert_eq!(json_path("$['\\'[[[[[[[[[[']"), Ok(()));
    assert!(json_path("$['\\\\'][[[[[[[[[[").is_err());
}
