//! Bearer credentials in a request (RFC 6750 section 2.1).

use http::{HeaderMap, header::AUTHORIZATION};

/// Longest token that is looked at, in bytes; a longer one is refused before it is parsed (J10).
const MAX_TOKEN: usize = 16 * 1024;

/// What stands in Authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'a> {
    /// No Authorization at all.
    Absent,
    /// Credentials of another scheme.
    OtherScheme,
    /// A token of the right alphabet.
    Token(&'a str),
}

/// Credentials that nobody should send (RFC 6750 section 3.1, `invalid_request`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// Not `Bearer` and one token of `b64token`.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// Two or more Authorization lines.
    #[error("more than one Authorization header")]
    Repeated,
    /// Longer than 16 KiB.
    #[error("the token is longer than 16384 bytes")]
    TooLong,
}

/// Finds the bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Result<Bearer<'_>, CredentialFault> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(Bearer::Absent) };
    if lines.next().is_some() {
        return Err(CredentialFault::Repeated);
    }
    let line = line.to_str().map_err(|_ignored: http::header::ToStrError| CredentialFault::Malformed)?;
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Bearer::OtherScheme);
    }
    let token = rest.trim_start_matches(' ');
    if token.len() > MAX_TOKEN {
        return Err(CredentialFault::TooLong);
    }
    if is_b64token(token) { Ok(Bearer::Token(token)) } else { Err(CredentialFault::Malformed) }
}

/// `b64token` of RFC 6750: at least one character, `=` only at the end.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (AUTHORIZATION, line.parse().unwrap())).collect()
    }

    fn read(lines: &[&str]) -> Result<String, CredentialFault> {
        bearer(&headers(lines)).map(|found| format!("{found:?}"))
    }

    #[test]
    fn finds_one_bearer_token() {
        assert_eq!(read(&[]), Ok("Absent".to_owned()));
        assert_eq!(read(&["Bearer abc"]), Ok("Token(\"abc\")".to_owned()));
        assert_eq!(read(&["bEARER  a.b-c_d~e+f/g=="]), Ok("Token(\"a.b-c_d~e+f/g==\")".to_owned()));
        assert_eq!(read(&["Basic abc"]), Ok("OtherScheme".to_owned()));
        assert_eq!(read(&["abc"]), Ok("OtherScheme".to_owned()));
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
            (&["Bearer a", "Bearer a"], CredentialFault::Repeated),
            (&["Basic x", "Bearer a"], CredentialFault::Repeated),
        ] {
            assert_eq!(read(lines), Err(fault), "{lines:?}");
        }
        assert_eq!(read(&[&format!("Bearer {}", "a".repeat(MAX_TOKEN + 1))]), Err(CredentialFault::TooLong));
    }
}
