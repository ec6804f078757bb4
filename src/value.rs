//! The values of a decoded message.
//!
//! A request is JSON or a Python literal. Both decode to the same type, so that later stages do not
//! depend on the language.
//!
//! Values borrow from the message: a request has about twenty texts, of which it keeps about three.
//! Binding the arguments copies those, and then the message is dropped (`actions/bind.rs`).

use std::borrow::Cow;
use std::fmt;

use chrono::{FixedOffset, NaiveDate, NaiveDateTime};

/// A decoded value. Text without escapes is borrowed from the message.
///
/// A value may be a password, so it has no `Display`, and its `Debug` shows only the type.
#[derive(Clone, PartialEq)]
pub enum Value<'m> {
    /// `null` or `None`.
    Null,
    /// `true`/`false` or `True`/`False`.
    Bool(bool),
    /// An integer of any length, in decimal digits as Python prints it (`-0` is `0`).
    Int(Cow<'m, str>),
    /// A number with a fraction or an exponent, `NaN` or an infinity.
    Float(f64),
    /// Text.
    Text(Cow<'m, str>),
    /// A list or a tuple.
    List(Vec<Self>),
    /// An object or dict, in the order of the message. If a key is repeated, its last entry counts,
    /// as in Python.
    Dict(Vec<(Self, Self)>),
    /// `datetime.date(2031, 1, 1)`, which PyYAML makes of an unquoted date.
    Date(NaiveDate),
    /// `datetime.datetime(2031, 1, 1, 12, 0)`, which PyYAML makes of an unquoted time, and the
    /// offset of its `tzinfo`, if any.
    DateTime(NaiveDateTime, Option<FixedOffset>),
}

impl Value<'_> {
    /// Returns the value of a text key of a dict, the last one if the key is repeated.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(entries) = self else {
            return None;
        };
        entries
            .iter()
            .rev()
            .find(|(name, _)| matches!(name, Self::Text(name) if name == key))
            .map(|(_, value)| value)
    }

    /// Returns the text, or `None` for a value of another type.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the name of the type for error messages, which must never show the value.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::List(_) => "list",
            Self::Dict(_) => "object",
            Self::Date(_) => "date",
            Self::DateTime(..) => "datetime",
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.type_name())
    }
}
