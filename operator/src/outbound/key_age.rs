//! How long keys count that cannot be read again.

use std::time::Duration;

use portreeve_compiler::Discovered;

use crate::clock::UnixMillis;

/// What is known after a read that failed.
pub(super) struct Settled {
    pub(super) found: Discovered,
    /// Whether that is something to tell.
    pub(super) news: bool,
}

/// What was known stays, but for keys that are too old: a key that was removed at the token service meanwhile must not
/// count for ever. Their age is the age of the last read that went well.
pub(super) fn settle(
    before: Discovered,
    fault: &str,
    read_at: UnixMillis,
    now: UnixMillis,
    max_age: Duration,
) -> Settled {
    let old = now.since(read_at) > max_age;
    let fault = match &before.keys {
        Some(_) if !old => {
            format!("{fault}; the keys of {} count until {}", read_at.rfc3339(), read_at.plus(max_age).rfc3339())
        }
        Some(_) => format!("{fault}; the keys of {} are too old to count (--keys-max-age)", read_at.rfc3339()),
        None => before.fault.clone().filter(|held| held.starts_with(fault)).unwrap_or_else(|| fault.to_owned()),
    };
    let news = before.fault.as_ref() != Some(&fault);
    let keys = before.keys.filter(|_| !old);
    Settled { found: Discovered { keys, fault: Some(fault), ..before }, news }
}

#[cfg(test)]
mod tests {
    use portreeve_policy::KeySet;

    use super::*;

    #[test]
    fn keys_count_until_their_age_and_no_longer() {
        let (keys, _) = KeySet::parse(br#"{"keys":[]}"#).unwrap();
        let known = Discovered { keys: Some(keys), ..Discovered::default() };
        let hour = Duration::from_hours(1);
        let at = |seconds: u64| UnixMillis((1_795_392_000 + seconds) * 1000);
        let young = settle(known, "metadata: timed out", at(0), at(3600), hour);
        assert!(young.found.keys.is_some() && young.news);
        let told = "metadata: timed out; the keys of 2026-11-23T00:00:00Z count until 2026-11-23T01:00:00Z";
        assert_eq!(young.found.fault.as_deref(), Some(told));
        let again = settle(young.found, "metadata: timed out", at(0), at(3600), hour);
        assert!(!again.news, "the same is told once, and changes nothing");
        let old = settle(again.found, "metadata: timed out", at(0), at(3601), hour);
        assert!(old.found.keys.is_none() && old.news);
        let told = "metadata: timed out; the keys of 2026-11-23T00:00:00Z are too old to count (--keys-max-age)";
        assert_eq!(old.found.fault.as_deref(), Some(told));
        let later = settle(old.found, "metadata: timed out", at(0), at(9999), hour);
        assert!(later.found.keys.is_none() && !later.news);
        assert_eq!(later.found.fault.as_deref(), Some(told), "why there are none stays to be read");
        assert_eq!(
            settle(later.found, "key set: 500", at(0), at(9999), hour).found.fault.as_deref(),
            Some("key set: 500")
        );
    }
}
