//! Durations as people write them (Gateway API GEP-2257): `1h30m`, `15s`, `250ms`.

use portreeve_policy::Millis;

/// Reads a duration; the units stand in falling order, each at most once, and the sum is not zero.
pub(crate) fn parse_duration(text: &str) -> Option<Millis> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)].into_iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at_checked(letters)?;
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = tail;
    }
    Millis::new(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gep_2257() {
        for (text, millis) in
            [("15s", 15_000), ("1h30m", 5_400_000), ("250ms", 250), ("1m1ms", 60_001), ("99999h", 359_996_400_000)]
        {
            assert_eq!(parse_duration(text), Millis::new(millis), "{text}");
        }
        for text in ["", "15", "s", "0s", "1s1m", "1s1s", "1.5s", "-1s", "100000s", " 1s", "1S", "1d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
