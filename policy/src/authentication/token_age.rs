//! How long tokens may live, whatever their issuer says.

use serde::{Deserialize, Serialize};

use crate::Millis;

/// A ceiling on the whole life of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum MaxTokenAge {
    /// What the issuer says.
    #[default]
    Unlimited,
    /// From `iat` to `exp`, at the most.
    AtMost(Millis),
}

impl MaxTokenAge {
    /// Whether no ceiling is set.
    pub fn is_unlimited(&self) -> bool {
        matches!(self, Self::Unlimited)
    }

    /// Whether a token that was issued and expires at these times, in milliseconds, lives within the ceiling. A token
    /// counts only before `exp`, so its age since `iat` is bounded with its life. Without both times it is unbounded.
    pub fn allows(&self, issued_at: Option<u64>, expires_at: Option<u64>) -> bool {
        match (self, issued_at, expires_at) {
            (Self::Unlimited, _, _) => true,
            (Self::AtMost(most), Some(issued_at), Some(expires_at)) => {
                u128::from(expires_at.saturating_sub(issued_at)) <= most.duration().as_millis()
            }
            (Self::AtMost(_), _, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_lives_longer_or_says_no_times_is_not_allowed() {
        let most = MaxTokenAge::AtMost(Millis::new(1_800_000).unwrap());
        let cases = [
            (Some(0), Some(1_800_000), true),
            (Some(5_000), Some(1_805_000), true),
            (Some(0), Some(1_800_001), false),
            (Some(9), Some(3), true),
            (Some(0), Some(u64::MAX), false),
            (None, Some(10), false),
            (Some(10), None, false),
            (None, None, false),
        ];
        for (issued_at, expires_at, allowed) in cases {
            assert_eq!(most.allows(issued_at, expires_at), allowed, "{issued_at:?} {expires_at:?}");
            assert!(MaxTokenAge::Unlimited.allows(issued_at, expires_at));
        }
        assert!(MaxTokenAge::default().is_unlimited() && !most.is_unlimited());
    }
}
