//! Values of Cedar's extension types. The constructors of `cedar_policy` parse the name of the function for every value,
//! which takes longer than the whole decision (3 µs of 4); here it is parsed once.

use std::{net::IpAddr, str::FromStr};

use cedar_policy::RestrictedExpression;
use cedar_policy_core::ast::{Name, RestrictedExpr};

use crate::clock::UnixMillis;

/// The functions that make values of extension types.
pub(super) struct Extensions {
    ip: Name,
    datetime: Name,
}

impl Extensions {
    /// `None` when Cedar knows such names no longer.
    pub(super) fn new() -> Option<Self> {
        Some(Self { ip: Name::from_str("ip").ok()?, datetime: Name::from_str("datetime").ok()? })
    }

    /// An `ipaddr`.
    pub(super) fn address(&self, address: IpAddr) -> RestrictedExpression {
        call(&self.ip, address.to_string())
    }

    /// A `datetime`; `None` for a moment that no calendar has.
    pub(super) fn moment(&self, now: UnixMillis) -> Option<RestrictedExpression> {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
        Some(call(&self.datetime, format!("{moment:.3}")))
    }
}

fn call(function: &Name, argument: String) -> RestrictedExpression {
    RestrictedExpr::call_extension_fn(function.clone(), [RestrictedExpr::val(argument)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_the_public_constructors_make() {
        let extensions = Extensions::new().unwrap();
        for text in ["10.1.2.3", "2001:db8::7"] {
            let made = extensions.address(text.parse().unwrap());
            assert_eq!(made, RestrictedExpression::new_ip(text));
        }
        for (millis, text) in [(0, "1970-01-01T00:00:00.000Z"), (1_795_392_000_007, "2026-11-23T00:00:00.007Z")] {
            let made = extensions.moment(UnixMillis(millis));
            assert_eq!(made, Some(RestrictedExpression::new_datetime(text)));
        }
        assert_eq!(extensions.moment(UnixMillis(u64::MAX)), None);
    }
}
