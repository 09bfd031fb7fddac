//! JSON objects, strictly: a duplicate member is refused (J13), for gateway and upstream might pick
//! different ones.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Reads an object without repeated members at any depth.
pub(crate) fn parse_object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice::<Strict>(bytes).ok()?.0 {
        Value::Object(map) => Some(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod hostile {
    use super::parse_object;
    use crate::heap_size::tests::taken;

    /// Memory follows the length of the text, whatever stands in it, and depth ends at a bound.
    #[test]
    fn d5_depth_width_numbers_and_surrogates_cost_no_more_than_their_bytes() {
        let nested =
            |open: &str, close: &str, depth: usize| format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        for (text, good) in [
            (nested("[", "]", 60), true),
            (nested("[", "]", 100_000), false),
            (nested("{\"a\":", "}", 100_000), false),
            (format!("{{\"a\":{}", "[".repeat(1_000_000)), false),
            (format!("{{\"a\":[{}1]}}", "1,".repeat(100_000)), true),
            (format!("{{\"a\":{}}}", "9".repeat(100_000)), false),
            (format!("{{\"a\":0.{}1}}", "0".repeat(100_000)), true),
            ("{\"a\":1e999999999}".to_owned(), false),
            ("{\"a\":-1e999999999}".to_owned(), false),
            ("{\"a\":\"\\ud800\"}".to_owned(), false),
            ("{\"a\":\"\\udc00\\ud800\"}".to_owned(), false),
            ("{\"\\ud800\":1}".to_owned(), false),
            ("{\"a\":NaN}".to_owned(), false),
            (format!("{{\"a\":\"{}\"}}", "x".repeat(1_000_000)), true),
        ] {
            let (bytes, parsed) = taken(|| parse_object(text.as_bytes()));
            let shown = text.get(..40).unwrap_or(&text);
            assert_eq!(parsed.is_some(), good, "{shown}");
            assert!(bytes <= text.len() * 64 + 32_768, "{bytes} bytes for {} of {shown}", text.len());
        }
    }
}
