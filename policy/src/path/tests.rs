use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> Result<String, InvalidPath> {
    CanonicalPath::parse(text).map(|path| path.as_str().to_owned())
}

#[test]
fn keeps_and_canonicalises_by_the_table() {
    for (input, output) in [
        ("/", "/"),
        ("/orders/7", "/orders/7"),
        ("/orders/", "/orders/"),
        ("/%6Frders/%7e", "/orders/~"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%3ab", "/a%3Ab"),
        ("/100%25", "/100%25"),
        ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
    ] {
        assert_eq!(canonical(input).as_deref(), Ok(output), "{input}");
    }
}

#[test]
fn refuses_ambiguous_paths_p1_p2_p3_p6() {
    use InvalidPath::{
        BrokenEncoding, DotSegment, DoubleEncoding, EmptySegment, EncodedDelimiter, IllegalCharacter, NoLeadingSlash,
        NotUtf8,
    };
    for (input, fault) in [
        ("", NoLeadingSlash),
        ("*", NoLeadingSlash),
        ("orders", NoLeadingSlash),
        ("/a/../b", DotSegment),
        ("/a/.", DotSegment),
        ("/a/%2e%2E/b", DotSegment),
        ("/a/.%2e", DotSegment),
        ("/a/..;/b", IllegalCharacter),
        ("/a/.;x/b", IllegalCharacter),
        ("/a%3bx", EncodedDelimiter),
        ("/a%2fb", EncodedDelimiter),
        ("/a%2Fb", EncodedDelimiter),
        ("/a%5cb", EncodedDelimiter),
        ("/a\\b", IllegalCharacter),
        ("/a//b", EmptySegment),
        ("//a", EmptySegment),
        ("/a%00", EncodedDelimiter),
        ("/a%0d%0ab", EncodedDelimiter),
        ("/a%", BrokenEncoding),
        ("/a%g1", BrokenEncoding),
        ("/a%2", BrokenEncoding),
        ("/a%252e", DoubleEncoding),
        ("/public/%25%32%65%25%32%65/private", DoubleEncoding),
        ("/a%25%32e", DoubleEncoding),
        ("/a%252%65", DoubleEncoding),
        ("/a%25%32%66", DoubleEncoding),
        ("/a%2525", DoubleEncoding),
        ("/a%25%32%35%32%65", DoubleEncoding),
        ("/a%c0%ae", NotUtf8),
        ("/a%ff", NotUtf8),
        ("/é", IllegalCharacter),
        ("/a b", IllegalCharacter),
        ("/a#b", IllegalCharacter),
        ("/a?b", IllegalCharacter),
    ] {
        assert_eq!(canonical(input), Err(fault), "{input}");
    }
}

#[test]
fn a_path_of_8192_bytes_is_the_longest() {
    let path = |bytes: usize| CanonicalPath::parse(&format!("/{}", "a".repeat(bytes - 1)));
    assert!(path(8191).is_ok() && path(8192).is_ok());
    assert_eq!((path(8193), path(9000)), (Err(InvalidPath::TooLong), Err(InvalidPath::TooLong)));
}

#[test]
fn paths_and_templates_are_their_texts() {
    let path = CanonicalPath::parse("/a/b%20c").unwrap();
    assert_eq!((path.to_string(), String::from(path)), ("/a/b%20c".to_owned(), "/a/b%20c".to_owned()));
    let template = PathTemplate::try_from("/a/{id}/%7eb".to_owned()).unwrap();
    let wanted = [
        TemplateSegment::Literal("a".into()),
        TemplateSegment::Parameter("id".into()),
        TemplateSegment::Literal("~b".into()),
    ];
    assert_eq!(template.segments(), wanted);
    assert_eq!((template.to_string(), String::from(template)), ("/a/{id}/~b".to_owned(), "/a/{id}/~b".to_owned()));
    for text in ["/{id", "/id}", "/a{id}", "/{id}b"] {
        assert_eq!(PathTemplate::try_from(text.to_owned()), Err(InvalidPath::TemplateParameter), "{text}");
    }
}

#[test]
fn template_parameters_are_whole_distinct_segments() {
    let template = PathTemplate::try_from("/orders/{id}/lines/{line}".to_owned()).unwrap();
    assert_eq!(template.to_string(), "/orders/{id}/lines/{line}");
    for text in ["orders", "/a{id}", "/{}", "/{id}/{id}", "/{a b}", "/a//{id}", "/../{id}", "/{id"] {
        assert!(PathTemplate::try_from(text.to_owned()).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Also for texts of which much is encoded more than once (P5).
    #[test]
    fn p5_canonical_form_is_a_fixed_point(
        text in "(/(%[0-9a-fA-F]{2}|%25|%3[0-9]|%[46][1-6]|[0-9a-f]|[a-z.;%~]){0,8}){1,4}",
    ) {
        if let Ok(once) = canonical(&text) {
            prop_assert_eq!(canonical(&once), Ok(once.clone()));
            // Nor does an application that decodes once more find a path that was refused.
            let again = percent_decoded(&once);
            prop_assert!(!again.split('/').any(|segment| segment == "." || segment == ".."), "{} {}", once, again);
            prop_assert!(!percent_decoded(&again).contains("/../"), "{} {}", once, again);
        }
    }

    #[test]
    fn never_panics(text in "\\PC*") {
        prop_assert!(canonical(&text).map_or(true, |path| path.starts_with('/')));
        prop_assert!(PathTemplate::try_from(text).map_or(true, |template| !template.segments().is_empty()));
    }
}

#[test]
fn c5_the_literal_prefix_covers_every_path_that_a_text_could_mean() {
    for (text, prefix) in [
        ("/orders/{id}.json", "/orders"),
        ("/orders/{id}/lines", "/orders"),
        ("/orders/%zz", "/orders"),
        ("/orders/../admin", "/orders"),
        ("/orders//x", "/orders"),
        ("/orders/", "/orders"),
        ("/or ders/x", "/"),
        ("orders", "/"),
        ("", "/"),
        ("/", "/"),
        ("/{id}", "/"),
    ] {
        assert_eq!(CanonicalPath::literal_prefix(text).as_str(), prefix, "{text}");
    }
    let long = "/orders".repeat(1_171);
    assert_eq!(CanonicalPath::literal_prefix(&long).as_str(), "/", "longer than any path");
    assert_eq!(CanonicalPath::literal_prefix(long.get(7..).unwrap()).as_str().len(), 8_190);
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, hex_pair(&mut bytes.clone())) {
            (b'%', Some((high, low))) => {
                decoded.push(high << 4 | low);
                bytes.nth(1);
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
