//! Values of a Cedar context, made directly. The public constructors make expressions first, and for extension types
//! parse the name of the constructor, for every value: that took longer than the decision (4 µs of 8).

use std::{net::IpAddr, str::FromStr};

use cedar_policy::Context;
use cedar_policy_core::{
    ast::{self, Name, RestrictedExpr, Value},
    evaluator::RestrictedEvaluator,
    extensions::Extensions,
};

use crate::clock::UnixMillis;

/// Makes values of extension types.
pub(super) struct Constructors {
    ip: Name,
    datetime: Name,
    evaluator: RestrictedEvaluator<'static>,
}

impl Constructors {
    /// `None` when Cedar knows such names no longer.
    pub(super) fn new() -> Option<Self> {
        let evaluator = RestrictedEvaluator::new(Extensions::all_available());
        Some(Self { ip: Name::from_str("ip").ok()?, datetime: Name::from_str("datetime").ok()?, evaluator })
    }

    /// An `ipaddr`.
    pub(super) fn address(&self, address: IpAddr) -> Option<Value> {
        self.call(&self.ip, address.to_string())
    }

    /// A `datetime`; `None` for a moment that no calendar has.
    pub(super) fn moment(&self, now: UnixMillis) -> Option<Value> {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
        self.call(&self.datetime, format!("{moment:.3}"))
    }

    fn call(&self, constructor: &Name, argument: String) -> Option<Value> {
        let call = RestrictedExpr::call_extension_fn(constructor.clone(), [RestrictedExpr::val(argument)]);
        self.evaluator.interpret(call.as_borrowed()).ok()
    }
}

/// Lines by name of their field.
pub(super) fn lines<'a>(fields: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> Value {
    let set = |lines: Vec<&str>| Value::set(lines.into_iter().map(Value::from), None);
    Value::record(fields.map(|(name, lines)| (name, set(lines))), None)
}

/// The context of a request.
pub(super) fn context(attributes: impl Iterator<Item = (&'static str, Value)>) -> Context {
    let record = attributes.map(|(name, value)| (name.into(), value)).collect();
    ast::Context::Value(std::sync::Arc::new(record)).into()
}

#[cfg(test)]
mod tests {
    use cedar_policy::RestrictedExpression;

    use super::*;

    #[test]
    fn values_are_those_that_the_public_constructors_make() {
        let made = Constructors::new().unwrap();
        let times = [(0, "1970-01-01T00:00:00.000Z"), (1_795_392_000_007, "2026-11-23T00:00:00.007Z")];
        for (address, (millis, time)) in ["10.1.2.3", "2001:db8::7"].into_iter().zip(times) {
            let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
            let lists = [("x-channel".to_owned(), RestrictedExpression::new_set(["shop", "web"].map(text)))];
            let public = Context::from_pairs([
                ("address".to_owned(), RestrictedExpression::new_ip(address)),
                ("time".to_owned(), RestrictedExpression::new_datetime(time)),
                ("tls".to_owned(), RestrictedExpression::new_bool(true)),
                ("host".to_owned(), text("orders.example.com")),
                ("headers".to_owned(), RestrictedExpression::new_record(lists).unwrap()),
            ]);
            let ours = context(
                [
                    ("address", made.address(address.parse().unwrap()).unwrap()),
                    ("time", made.moment(UnixMillis(millis)).unwrap()),
                    ("tls", true.into()),
                    ("host", "orders.example.com".into()),
                    ("headers", lines([("x-channel", vec!["shop", "web"])].into_iter())),
                ]
                .into_iter(),
            );
            assert_eq!(ours, public.unwrap());
        }
        assert!(made.moment(UnixMillis(u64::MAX)).is_none());
    }
}
