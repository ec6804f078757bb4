//! Request ids: text or a number. A reply echoes the id with the same JSON type.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::random::{self, NoRandomness};
use crate::value::Value;

/// The id of a request.
#[derive(Debug, Clone)]
pub struct RequestId {
    name: String,
    /// Whether the id is a number, whose name is its JSON form.
    is_number: bool,
}

/// Serializes the id with its JSON type, as the reply echoes it.
impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_number {
            let number: &RawValue = serde_json::from_str(&self.name).map_err(S::Error::custom)?;
            number.serialize(serializer)
        } else {
            serializer.serialize_str(&self.name)
        }
    }
}

impl RequestId {
    /// Returns the id of a request, or `None` if it cannot name a reply list: it is missing, empty,
    /// 0, longer than `max_length` bytes, or neither text nor a finite number.
    #[must_use]
    pub fn from_value(value: Option<&Value<'_>>, max_length: usize) -> Option<Self> {
        let (name, is_number) = match value? {
            Value::Text(text) if !text.is_empty() => (text.clone().into_owned(), false),
            Value::Int(digits) if digits != "0" => (digits.clone().into_owned(), true),
            Value::Float(number) if number.is_finite() && *number != 0.0 => {
                (python_float(*number), true)
            }
            _ => return None,
        };
        (name.len() <= max_length).then_some(Self { name, is_number })
    }

    /// Returns a random id of 32 hex digits, for a request without a usable one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self {
            name: random::hex_id()?,
            is_number: false,
        })
    }

    /// Returns the id as text, which is the suffix of the reply list's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Formats a float as Python's `repr` does, because a Python client names its reply list so.
fn python_float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: Value<'_>) -> Option<(String, String)> {
        RequestId::from_value(Some(&value), 256)
            .map(|id| (id.name.clone(), serde_json::to_string(&id).unwrap()))
    }

    #[test]
    fn keeps_the_json_type() {
        assert_eq!(
            id(Value::Text("a\"b".into())),
            Some(("a\"b".into(), "\"a\\\"b\"".into()))
        );
        let long = "123456789012345678901234567890";
        assert_eq!(
            id(Value::Int(long.into())),
            Some((long.into(), long.into()))
        );
        assert_eq!(id(Value::Float(1.5)), Some(("1.5".into(), "1.5".into())));
    }

    #[test]
    fn unusable_ids_are_none() {
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Int("0".into()),
            Value::Float(0.0),
            Value::Float(f64::NAN),
            Value::Text("".into()),
            Value::Text("x".repeat(257).into()),
            Value::List(vec![]),
            Value::Dict(vec![]),
        ] {
            assert_eq!(id(value.clone()), None, "{value:?}");
        }
        assert!(RequestId::from_value(None, 256).is_none());
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
        ] {
            assert_eq!(python_float(number), text);
        }
    }
}
