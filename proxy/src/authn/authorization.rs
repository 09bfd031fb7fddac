//! The Authorization field (RFC 9110 section 11.6.2): one scheme, read once.

use http::{HeaderMap, header::AUTHORIZATION};

/// Longest credential that is looked at, in bytes; a longer one is refused before it is parsed (J10).
const MAX_CREDENTIAL: usize = 16 * 1024;

/// What stands in Authorization.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationField<'a> {
    /// No Authorization at all.
    Absent,
    /// User and password, still in base64 (RFC 7617).
    Basic(&'a str),
    /// A bearer token of the right alphabet (RFC 6750).
    Bearer(&'a str),
    /// Parameters of HTTP Digest (RFC 7616).
    Digest(&'a str),
    /// A token that comes with a proof of possession (RFC 9449).
    Dpop(&'a str),
    /// Credentials of another scheme.
    OtherScheme,
}

/// Credentials that nobody should send (RFC 6750 section 3.1, `invalid_request`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// Not of the form that its scheme has.
    #[error("the credential is malformed")]
    Malformed,
    /// Two or more Authorization lines, or API keys.
    #[error("more than one credential of a kind")]
    Repeated,
    /// Longer than 16 KiB.
    #[error("the credential is longer than 16384 bytes")]
    TooLong,
}

/// Reads the field.
pub(super) fn authorization(headers: &HeaderMap) -> Result<AuthorizationField<'_>, CredentialFault> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(AuthorizationField::Absent) };
    if lines.next().is_some() {
        return Err(CredentialFault::Repeated);
    }
    // Whatever the scheme: a field of other bytes is nobody's credential.
    let ascii = Some(line.as_bytes()).filter(|bytes| bytes.is_ascii());
    let line = ascii.and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(CredentialFault::Malformed)?;
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim_start_matches(' ');
    let is = |name: &str| scheme.eq_ignore_ascii_case(name);
    let found = match () {
        () if is("bearer") => AuthorizationField::Bearer(rest),
        () if is("basic") => AuthorizationField::Basic(rest),
        () if is("digest") => AuthorizationField::Digest(rest),
        () if is("dpop") => AuthorizationField::Dpop(rest),
        () => return Ok(AuthorizationField::OtherScheme),
    };
    if rest.len() > MAX_CREDENTIAL {
        return Err(CredentialFault::TooLong);
    }
    let parameters = matches!(found, AuthorizationField::Digest(_));
    if parameters || is_token68(rest) { Ok(found) } else { Err(CredentialFault::Malformed) }
}

impl<'a> AuthorizationField<'a> {
    /// A token, however it is sent.
    pub fn token(self) -> Option<&'a str> {
        match self {
            Self::Bearer(token) | Self::Dpop(token) => Some(token),
            Self::Absent | Self::Basic(_) | Self::Digest(_) | Self::OtherScheme => None,
        }
    }
}

/// `token68` of RFC 9110 section 11.2, which is `b64token` of RFC 6750: at least one character, `=` only at the end.
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    // Every byte is looked at, without a branch, so that the compiler takes many at once.
    let legal = |b: u8| b.is_ascii_alphanumeric() | matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().fold(true, |all, b| all & legal(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<String, CredentialFault> {
        let headers: HeaderMap = lines.iter().map(|line| (AUTHORIZATION, line.parse().unwrap())).collect();
        authorization(&headers).map(|found| match found {
            AuthorizationField::Absent => "absent".to_owned(),
            AuthorizationField::Basic(text) => format!("basic {text}"),
            AuthorizationField::Bearer(text) => format!("bearer {text}"),
            AuthorizationField::Digest(text) => format!("digest {text}"),
            AuthorizationField::Dpop(text) => format!("dpop {text}"),
            AuthorizationField::OtherScheme => "other".to_owned(),
        })
    }

    #[test]
    fn finds_one_credential_of_one_scheme() {
        for (lines, found) in [
            (&[][..], "absent"),
            (&["Bearer abc"], "bearer abc"),
            (&["bEARER  a.b-c_d~e+f/g=="], "bearer a.b-c_d~e+f/g=="),
            (&["DPoP abc"], "dpop abc"),
            (&["Basic YTpi"], "basic YTpi"),
            (&["Digest username=\"a\", uri=\"/\""], "digest username=\"a\", uri=\"/\""),
            (&["Negotiate abc"], "other"),
            (&["abc"], "other"),
        ] {
            assert_eq!(read(lines), Ok(found.to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn refuses_empty_repeated_and_malformed_credentials_i6() {
        for (lines, fault) in [
            (&["Bearer"][..], CredentialFault::Malformed),
            (&["Bearer "], CredentialFault::Malformed),
            (&["Bearer a b"], CredentialFault::Malformed),
            (&["Bearer a,b"], CredentialFault::Malformed),
            (&["Bearer =="], CredentialFault::Malformed),
            (&["Bearer a=b"], CredentialFault::Malformed),
            (&["DPoP "], CredentialFault::Malformed),
            (&["Basic a:b"], CredentialFault::Malformed),
            (&["Bearer a", "Bearer a"], CredentialFault::Repeated),
            (&["Basic x", "Bearer a"], CredentialFault::Repeated),
            (&["Digest username=\"\u{e4}\""], CredentialFault::Malformed),
            (&["Negotiate \u{e4}"], CredentialFault::Malformed),
            (&["\u{e4}"], CredentialFault::Malformed),
        ] {
            assert_eq!(read(lines), Err(fault), "{lines:?}");
        }
        for scheme in ["Bearer", "Basic", "DPoP", "Digest"] {
            let long = format!("{scheme} {}", "a".repeat(MAX_CREDENTIAL + 1));
            assert_eq!(read(&[&long]), Err(CredentialFault::TooLong), "{scheme}");
        }
    }
}
