//! A text that must not be shown: a client secret, a registration token.

use zeroize::Zeroizing;

/// A secret text. The type has no `Debug`, no `Display` and no serde form, so that no log line, error or status can
/// hold it by accident. The text is wiped when it is dropped. Comparing takes the same time wherever two texts differ.
///
/// ```compile_fail
/// println!("{:?}", portreeve_registration::Secret::new("s3cret".to_owned()));
/// ```
/// ```compile_fail
/// println!("{}", portreeve_registration::Secret::new("s3cret".to_owned()));
/// ```
/// ```compile_fail
/// fn serializable<T: serde::Serialize>(_: T) {}
/// serializable(portreeve_registration::Secret::new("s3cret".to_owned()));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (left, right) = (self.0.as_bytes(), other.0.as_bytes());
        // The length of a token is no secret; its bytes are. `black_box` keeps the loop from ending early.
        let unequal = left.iter().zip(right).fold(0u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
        left.len() == right.len() && unequal == 0
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn compares_whole_texts() {
        let secret = |text: &str| Secret::new(text.to_owned());
        assert!(secret("abc") == secret("abc"));
        for other in ["", "ab", "abcd", "abd", "xbc"] {
            assert!(secret("abc") != secret(other), "{other}");
        }
    }
}
