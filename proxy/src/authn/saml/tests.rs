use portreeve_policy::Audiences;
use proptest::prelude::*;

use super::*;

/// A whole assertion, each part of which a test can replace.
fn assertion() -> String {
    r##"<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a1" Version="2.0" IssueInstant="2026-11-23T00:00:00Z">
<saml:Issuer>https://idp.partner.example</saml:Issuer>
<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:Reference URI="#_a1"/></ds:SignedInfo></ds:Signature>
<saml:Subject><saml:NameID>ada@partner.example</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="2026-11-23T00:03:00Z" Recipient="https://login.example.com/token"/></saml:SubjectConfirmation></saml:Subject>
<saml:Conditions NotBefore="2026-11-23T00:00:00Z" NotOnOrAfter="2026-11-23T00:05:00.500Z"><saml:AudienceRestriction><saml:Audience>https://login.example.com</saml:Audience></saml:AudienceRestriction></saml:Conditions>
</saml:Assertion>"##
        .to_owned()
}

fn read(text: &str) -> Option<Assertion> {
    Assertion::read(&URL_SAFE_NO_PAD.encode(text))
}

fn audiences(name: &str) -> Audiences {
    serde_json::from_value(serde_json::json!([name])).unwrap()
}

/// Midnight of 23 November 2026.
const MIDNIGHT: u64 = 1_795_392_000_000;

#[test]
fn reads_whose_it_is_for_whom_and_until_when() {
    let read = read(&assertion()).unwrap();
    assert_eq!(read.issuer(), "https://idp.partner.example");
    assert_eq!(read.expires_at(), UnixMillis(MIDNIGHT + 180_000), "the earliest of all ends");
    let check = |audience: &str, millis: u64| read.check(&audiences(audience), UnixMillis(millis));
    let ours = "https://login.example.com";
    assert_eq!(check(ours, MIDNIGHT), Ok(()));
    assert_eq!(check("https://other.example.com", MIDNIGHT), Err(TokenFault::Audience));
    assert_eq!(check(ours, MIDNIGHT + 180_000), Err(TokenFault::Verification(JwtFault::Expired.into())));
    assert_eq!(check(ours, MIDNIGHT - 60_000), Err(TokenFault::Verification(JwtFault::NotYetValid.into())));
}

#[test]
fn every_restriction_has_to_be_met() {
    let more = "<saml:AudienceRestriction><saml:Audience>https://other.example.com</saml:Audience></saml:AudienceRestriction></saml:Conditions>";
    let read = read(&assertion().replace("</saml:Conditions>", more)).unwrap();
    let verdict = read.check(&audiences("https://login.example.com"), UnixMillis(MIDNIGHT));
    assert_eq!(verdict, Err(TokenFault::Audience));
}

#[test]
fn whatever_is_not_one_plain_assertion_is_none() {
    let bomb = r#"<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>"#;
    let other = "<saml:Assertion ID=\"_b\" Version=\"2.0\"><saml:Issuer>https://idp.partner.example</saml:Issuer></saml:Assertion>";
    let whole = assertion();
    for (name, text) in [
        ("a document type", format!("{bomb}{whole}")),
        ("an entity", whole.replace("ada@", "&b;")),
        ("a comment within the issuer", whole.replace("idp.partner", "idp<!-- x -->.partner")),
        ("a comment anywhere", whole.replace("</saml:Subject>", "</saml:Subject><!-- x -->")),
        ("a processing instruction", whole.replace("</saml:Subject>", "</saml:Subject><?x y?>")),
        ("an assertion within", whole.replace("</saml:Assertion>", &format!("{other}</saml:Assertion>"))),
        (
            "an assertion within the signature",
            whole.replace("</ds:Signature>", &format!("<ds:Object>{other}</ds:Object></ds:Signature>")),
        ),
        (
            "a response around it",
            format!("<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\">{whole}</samlp:Response>"),
        ),
        ("another namespace", whole.replace("SAML:2.0:assertion", "SAML:1.0:assertion")),
        ("another version", whole.replace("Version=\"2.0\"", "Version=\"1.1\"")),
        ("no issuer", whole.replace("saml:Issuer", "saml:Other")),
        ("two issuers", whole.replace("<saml:Subject>", "<saml:Issuer>x</saml:Issuer><saml:Subject>")),
        ("an issuer of elements", whole.replace("https://idp.partner.example", "<b/>")),
        ("an empty issuer", whole.replace("https://idp.partner.example", " ")),
        ("no signature", whole.replace("ds:Signature", "ds:Other")),
        (
            "two signatures",
            whole.replace(
                "<saml:Subject>",
                "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"/><saml:Subject>",
            ),
        ),
        ("a signature over another", whole.replace("#_a1", "#_a2")),
        ("a signature over the document", whole.replace("URI=\"#_a1\"", "URI=\"\"")),
        ("no identifier", whole.replace("ID=\"_a1\"", "")),
        ("no subject", whole.replace("saml:Subject>", "saml:Other>")),
        ("no bearer confirmation", whole.replace("cm:bearer", "cm:holder-of-key")),
        ("no conditions", whole.replace("saml:Conditions", "saml:Other")),
        ("two conditions", whole.replace("</saml:Assertion>", "<saml:Conditions/></saml:Assertion>")),
        ("no audience", whole.replace("saml:AudienceRestriction", "saml:Other")),
        ("no end", whole.replace("NotOnOrAfter", "Until")),
        ("an end that is no time", whole.replace("00:05:00.500Z", "soon")),
        ("an end in another zone", whole.replace("00:05:00.500Z", "00:05:00+00:00")),
        ("an end before 1970", whole.replace("2026-11-23T00:05:00.500Z", "1969-12-31T00:00:00Z")),
        ("two ends", whole.replace("NotBefore=", "NotOnOrAfter=")),
        ("cut off", whole.trim_end_matches("n>").to_owned()),
        ("something after it", format!("{whole}<b/>")),
        ("too many nodes", whole.replace("</saml:Subject>", &format!("{}</saml:Subject>", "<b/>".repeat(3000)))),
        ("nothing", String::new()),
    ] {
        assert!(text != whole, "{name}: the test changes nothing");
        assert_eq!(read(&text), None, "{name}");
    }
}

#[test]
fn the_encoding_is_canonical_base64url_without_padding() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let mut text = assertion();
    while !text.len().is_multiple_of(3) || !STANDARD.encode(&text).contains(['+', '/']) {
        text = text.replacen("ada@", "ada?~>", 1).replacen("</saml:Assertion>", " </saml:Assertion>", 1);
    }
    assert!(read(&text).is_some());
    assert_eq!(Assertion::read(&STANDARD.encode(&text)), None, "the other alphabet");
    let padded = URL_SAFE.encode(format!("{text} "));
    assert!(padded.ends_with('='));
    assert_eq!(Assertion::read(&padded), None, "padding");
    assert_eq!(Assertion::read(&text), None, "no encoding at all");
}

proptest! {
    #[test]
    fn no_mangled_assertion_is_read_with_a_later_end_or_crashes(at in 0_usize..1100, with in "[<>&\"a-zA-Z0-9 #:/=.-]{0,8}", cut in 0_usize..40) {
        let mut text = assertion();
        let from = at.min(text.len());
        text.replace_range(from..(from + cut).min(text.len()), &with);
        // Whatever still reads has an issuer and an end: nothing is made up.
        if let Some(read) = read(&text) {
            prop_assert!(!read.issuer().is_empty() && read.expires_at().0 > 0);
        }
    }

    #[test]
    fn noise_is_never_an_assertion(text in "P[A-Za-z0-9_-]{0,200}") {
        prop_assert_eq!(Assertion::read(&text), None);
    }
}
