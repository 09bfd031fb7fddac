//! Values of others on a terminal. What a token, a request or a manifest says never moves the cursor, clears the screen,
//! turns the reading direction or begins a line of its own (S2, L1).

use std::borrow::Cow;

/// The text with every character escaped that a terminal does not simply show.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let escape = |character: char| {
        let escaped = is_active(character).then(|| character.escape_unicode().to_string());
        escaped.unwrap_or_else(|| character.to_string())
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Control characters of both sets, line and paragraph separators, and what changes the direction of text.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
        || character == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s2_nothing_active_is_printed() {
        for (text, shown) in [
            ("plain \u{e4}\u{4e16}", "plain \u{e4}\u{4e16}"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("a\r\nb\tc\0", "a\\u{d}\\u{a}b\\u{9}c\\u{0}"),
            ("a\u{7f}\u{9b}31m", "a\\u{7f}\\u{9b}31m"),
            ("\u{202e}abc\u{2066}\u{2028}\u{feff}", "\\u{202e}abc\\u{2066}\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
