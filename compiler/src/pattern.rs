//! Texts with `*` in them, as owners write them for scopes, software identifiers and hosts.

/// Most `*` of one pattern.
const MAX_STARS: usize = 8;

/// Longest pattern, in bytes.
const MAX_LENGTH: usize = 256;

/// A text in which each `*` stands for any text, also for none. Matching takes time linear in the text for each `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern<'a>(&'a str);

/// How narrow a pattern is: one without `*` before all others, then by the number of other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Narrowness {
    exact: bool,
    literal: usize,
}

impl<'a> Pattern<'a> {
    /// The pattern, or what is wrong with the text.
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err("1 to 256 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
            return Err("visible ASCII without blanks, quotation marks and backslashes");
        }
        if text.bytes().filter(|b| *b == b'*').count() > MAX_STARS {
            return Err("at most 8 times `*`");
        }
        Ok(Self(text))
    }

    /// Whether the whole text fits.
    pub(crate) fn fits(self, text: &str) -> bool {
        let Some((prefix, rest)) = self.0.split_once('*') else { return self.0 == text };
        let (middle, suffix) = rest.rsplit_once('*').map_or((None, rest), |(middle, suffix)| (Some(middle), suffix));
        let Some(mut left) = text.strip_prefix(prefix).and_then(|left| left.strip_suffix(suffix)) else { return false };
        // Leftmost is as good as any: what follows has the most room then.
        for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
            let Some((_, after)) = left.split_once(part) else { return false };
            left = after;
        }
        true
    }

    pub(crate) fn narrowness(self) -> Narrowness {
        let stars = self.0.bytes().filter(|b| *b == b'*').count();
        Narrowness { exact: stars == 0, literal: self.0.len().saturating_sub(stars) }
    }
}

/// Whether one of the patterns fits; a broken one fits nothing.
pub(crate) fn any_fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().filter_map(|pattern| Pattern::parse(pattern).ok()).any(|pattern| pattern.fits(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_text_anywhere() {
        for (pattern, text, expected) in [
            ("orders:read", "orders:read", true),
            ("orders:read", "orders:readx", false),
            ("orders:*", "orders:", true),
            ("orders:*", "orders", false),
            ("*", "", true),
            ("*:read", "orders:read", true),
            ("*:read", "orders:reader", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXc", false),
            ("**", "x", true),
            ("a**b", "ab", true),
            ("a*bc*c", "abc", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn bounds_what_owners_write() {
        let long = "a".repeat(257);
        for text in ["", "a b", "a\"", "a\\", "é", "*********", long.as_str()] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn narrower_patterns_decide() {
        let of = |text| Pattern::parse(text).unwrap().narrowness();
        assert!(of("a") > of("*aaaa") && of("orders:*") > of("*") && of("*") == of("**"));
    }

    /// As one would write it who has all the time of the world.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if slow(rest, text) => true,
            (Some((b'*', _)), Some((_, left))) => slow(pattern, left),
            (Some((p, rest)), Some((t, left))) if p == t => slow(rest, left),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
            let parsed = Pattern::parse(&pattern).unwrap();
            prop_assert_eq!(parsed.fits(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
