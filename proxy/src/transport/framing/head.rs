//! Heads of HTTP/1 requests, line by line (RFC 9112 sections 2.2, 3, 5, 6).

use http::Uri;

use crate::pipeline::MAX_FIELDS;

/// Longest head, in bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// How the body behind a head is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    Length(u64),
    None,
}

/// What was found in the bytes of a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    Partial,
    Refused(&'static str),
    Whole(usize, Framing),
}

/// Progress within one head, so that a head which comes byte by byte is looked at once.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Bytes that lie behind us.
    seen: usize,
    has_request_line: bool,
    fields: usize,
    old_version: bool,
    length: Option<u64>,
    chunked: bool,
}

/// Reason that is answered with 431 instead of 400.
pub const TOO_LARGE: &str = "the head is larger than 65536 bytes";

/// Another one.
pub const TOO_MANY_FIELDS: &str = "the head has more than 100 fields";

/// Reason that is answered with 400, as every target that is no URI.
pub const INVALID_TARGET: &str = "the target holds a character that no URI may hold, or has no form of RFC 9112";

/// Reason that is answered with 414.
pub const TARGET_TOO_LONG: &str = "the request line is longer than 65536 bytes";

impl HeadScan {
    /// `bytes` begin at the head; they grow from call to call.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Scanned {
        loop {
            let rest = bytes.get(self.seen..).unwrap_or_default();
            let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                return if bytes.len() > MAX_HEAD { Scanned::Refused(self.too_large()) } else { Scanned::Partial };
            };
            let (line, _) = rest.split_at(end);
            let Some(line) = line.strip_suffix(b"\r") else {
                return Scanned::Refused("a line ends in a bare LF");
            };
            self.seen += end + 1;
            if self.seen > MAX_HEAD {
                return Scanned::Refused(self.too_large());
            }
            if line.iter().any(|b| b.is_ascii_control() && *b != b'\t') {
                return Scanned::Refused("a control character in the head");
            }
            let found = match (self.has_request_line, line) {
                // Empty lines before a request line are allowed (section 2.2).
                (false, b"") => Ok(()),
                (false, line) => self.request_line(line),
                (true, b"") => return Scanned::Whole(self.seen, self.framing()),
                (true, line) => self.field(line),
            };
            if let Err(reason) = found {
                return Scanned::Refused(reason);
            }
        }
    }

    fn too_large(&self) -> &'static str {
        if self.has_request_line { TOO_LARGE } else { TARGET_TOO_LONG }
    }

    fn framing(&self) -> Framing {
        match (self.chunked, self.length) {
            (true, _) => Framing::Chunked,
            (false, None | Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        self.has_request_line = true;
        let mut parts = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the request line is not method, target and version with single blanks");
        };
        if method.is_empty() || !method.iter().copied().all(is_token) || target.is_empty() || target.contains(&b'\t') {
            return Err("the request line is not method, target and version with single blanks");
        }
        if target.contains(&b'#') {
            return Err("a fragment in the request target");
        }
        if !is_parsed(target) {
            return Err(INVALID_TARGET);
        }
        match version {
            b"HTTP/1.1" => {}
            b"HTTP/1.0" => self.old_version = true,
            _ => return Err("the version is neither HTTP/1.1 nor HTTP/1.0"),
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err("a folded line (section 5.2)");
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return Err("a field line without a colon") };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err("a field name that is no token (section 5.1)");
        }
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(TOO_MANY_FIELDS);
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.content_length(value);
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return self.transfer_encoding(value);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.chunked {
            return Err("Content-Length beside Transfer-Encoding (section 6.1)");
        }
        if self.length.is_some() {
            return Err("there is more than one Content-Length");
        }
        let digits = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        // It goes on as it is, and others read `0200` as an octal number or keep lengths in 63 bits.
        let canonical = digits && (value.len() == 1 || !value.starts_with(b"0"));
        let number = str::from_utf8(value).ok().filter(|_| canonical).and_then(|text| text.parse::<i64>().ok());
        let number = number.and_then(|number| u64::try_from(number).ok());
        self.length = Some(number.ok_or("Content-Length is not a number without leading zeros below 2^63")?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), &'static str> {
        if self.old_version {
            return Err("Transfer-Encoding in HTTP/1.0 (section 6.1)");
        }
        if self.length.is_some() {
            return Err("Content-Length beside Transfer-Encoding (section 6.1)");
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err("a Transfer-Encoding other than chunked");
        }
        self.chunked = true;
        Ok(())
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the parser takes this target. Most targets are a path of unreserved characters, and it need not be asked.
fn is_parsed(target: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-._~%?=&+:@!$'()*,;".contains(b);
    (target.starts_with(b"/") && target.iter().all(plain)) || Uri::try_from(target).is_ok()
}

/// For the fuzzer: a head means the same, however its bytes arrive.
pub(crate) fn fuzz_head(data: &[u8]) {
    let whole = HeadScan::default().look(data);
    let mut scan = HeadScan::default();
    let in_pieces = (1..=data.len()).map(|end| scan.look(data.get(..end).unwrap_or_default()));
    let first = in_pieces.into_iter().find(|found| *found != Scanned::Partial).unwrap_or(Scanned::Partial);
    assert!(whole == first, "in one piece {whole:?}, byte by byte {first:?}");
}
