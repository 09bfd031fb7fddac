//! SAML 2.0 bearer assertions (RFC 7522 section 3), read as far as the gateway has to: whose it is, for whom, and until
//! when. Its signature is checked by the token service that has the partner's certificate; so nothing that is read here
//! counts for the caller, it only keeps what cannot be good from being sent, and bounds what comes back.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portreeve_policy::Audiences;
use roxmltree::{Document, Node, ParsingOptions};

use super::{JwtFault, jwt::SKEW, presentation::TokenFault};
use crate::clock::UnixMillis;

/// An assertion of the right form, of which nothing is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assertion {
    issuer: String,
    /// Each restriction has to be met.
    restrictions: Vec<Vec<String>>,
    not_before: Option<UnixMillis>,
    /// The earliest of all that it says.
    not_on_or_after: UnixMillis,
}

/// SAML core section 2.
const NAMESPACE: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SIGNATURES: &str = "http://www.w3.org/2000/09/xmldsig#";
const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";

/// More than any assertion has, and little enough to be read at once.
const MAX_NODES: u32 = 2000;

impl Assertion {
    /// Reads a token. `None` for anything but one assertion in base64url without padding (RFC 7522 section 2.1). There
    /// is no document type, so no entities; no comments and processing instructions, at which texts could be cut.
    pub(super) fn read(token: &str) -> Option<Self> {
        // `<` in base64: most tokens end here.
        if !token.starts_with('P') {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let text = str::from_utf8(&bytes).ok()?;
        let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).ok()?;
        let plain = document.descendants().all(|node| !node.is_comment() && !node.is_pi());
        let root = document.root_element();
        if !plain || !root.has_tag_name((NAMESPACE, "Assertion")) || root.attribute("Version") != Some("2.0") {
            return None;
        }
        // An assertion within an assertion is how signatures are wrapped.
        let assertions = document.descendants().filter(|node| node.has_tag_name((NAMESPACE, "Assertion"))).count();
        if assertions != 1 || !is_signed(root) {
            return None;
        }
        let conditions = only(root, "Conditions")?;
        let (confirmations, subject_end) = confirmations(only(root, "Subject")?)?;
        let ends = [time(conditions, "NotOnOrAfter")?, subject_end];
        let restrictions = children(conditions, "AudienceRestriction").map(audiences).collect::<Option<Vec<_>>>()?;
        if confirmations == 0 || restrictions.is_empty() {
            return None;
        }
        Some(Self {
            issuer: text_of(only(root, "Issuer")?)?,
            restrictions,
            not_before: time(conditions, "NotBefore")?,
            not_on_or_after: ends.into_iter().flatten().min()?,
        })
    }

    /// Entity identifier of whoever gave it out.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The first moment at which it counts no longer.
    pub(super) fn expires_at(&self) -> UnixMillis {
        self.not_on_or_after
    }

    /// Whether it is for one of these, now.
    pub(super) fn check(&self, audiences: &Audiences, now: UnixMillis) -> Result<(), TokenFault> {
        let meets = |restriction: &Vec<String>| audiences.accept(restriction.iter().map(String::as_str));
        if !self.restrictions.iter().all(meets) {
            return Err(TokenFault::Audience);
        }
        let fault = |fault: JwtFault| Err(TokenFault::Verification(fault.into()));
        if now >= self.not_on_or_after {
            return fault(JwtFault::Expired);
        }
        if self.not_before.is_some_and(|start| start > now.plus(SKEW)) {
            return fault(JwtFault::NotYetValid);
        }
        Ok(())
    }
}

fn children<'a>(node: Node<'a, 'a>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    node.children().filter(move |child| child.has_tag_name((NAMESPACE, name)))
}

/// The child of this name, if there is one and only one.
fn only<'a>(node: Node<'a, 'a>, name: &'a str) -> Option<Node<'a, 'a>> {
    let mut found = children(node, name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The text of an element that holds nothing else.
fn text_of(node: Node<'_, '_>) -> Option<String> {
    let mut inner = node.children();
    let (Some(text), None) = (inner.next(), inner.next()) else { return None };
    let text = text.text().filter(|_| text.is_text())?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// One signature, over this assertion as a whole, by its identifier.
fn is_signed(root: Node<'_, '_>) -> bool {
    let mut signatures = root.children().filter(|child| child.has_tag_name((SIGNATURES, "Signature")));
    let (Some(signature), None) = (signatures.next(), signatures.next()) else { return false };
    let mut references = signature.descendants().filter(|node| node.has_tag_name((SIGNATURES, "Reference")));
    let (Some(reference), None) = (references.next(), references.next()) else { return false };
    let identifier = root.attribute("ID").filter(|id| !id.is_empty());
    identifier.is_some() && reference.attribute("URI").and_then(|uri| uri.strip_prefix('#')) == identifier
}

/// How many bearer confirmations there are, and the earliest end of any; `None` for a time that is none.
fn confirmations(subject: Node<'_, '_>) -> Option<(usize, Option<UnixMillis>)> {
    let (mut count, mut earliest) = (0_usize, None);
    for confirmation in subject.children().filter(|node| node.has_tag_name((NAMESPACE, "SubjectConfirmation"))) {
        if confirmation.attribute("Method") != Some(BEARER) {
            continue;
        }
        count = count.saturating_add(1);
        for details in confirmation.children().filter(|node| node.has_tag_name((NAMESPACE, "SubjectConfirmationData")))
        {
            earliest = [earliest, time(details, "NotOnOrAfter")?].into_iter().flatten().min();
        }
    }
    Some((count, earliest))
}

fn audiences(restriction: Node<'_, '_>) -> Option<Vec<String>> {
    restriction.children().filter(|node| node.has_tag_name((NAMESPACE, "Audience"))).map(text_of).collect()
}

/// `Some(None)`: not said. `None`: no time in UTC (SAML core section 1.3.3).
#[expect(clippy::option_option, reason = "absent and wrong are different")]
fn time(node: Node<'_, '_>, attribute: &str) -> Option<Option<UnixMillis>> {
    let Some(text) = node.attribute(attribute) else { return Some(None) };
    let moment: jiff::Timestamp = text.parse().ok()?;
    let millis = u64::try_from(moment.as_millisecond()).ok()?;
    text.ends_with('Z').then_some(Some(UnixMillis(millis)))
}

#[cfg(test)]
mod tests;
