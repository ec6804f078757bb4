//! A plain value, as Python would hold it after reading a message.
//!
//! Requests come as JSON or as Python literals; both are read into this one
//! type, so that nothing behind the decoder knows which of them it was.

use std::borrow::Cow;
use std::fmt;

use chrono::{FixedOffset, NaiveDate, NaiveDateTime};

/// A decoded value; text is borrowed from the message where it can be.
///
/// It has no `Display`, and its `Debug` shows the type alone: a value out of
/// a request may be a password.
#[derive(Clone, PartialEq)]
pub enum Value<'m> {
    /// `null` or `None`.
    Null,
    /// `true`/`false` or `True`/`False`.
    Bool(bool),
    /// An integer of any length, in decimal digits as Python prints it
    /// (`-0` is `0`).
    Int(Cow<'m, str>),
    /// A number with a fraction or an exponent, `NaN` or an infinity.
    Float(f64),
    /// Text.
    Text(Cow<'m, str>),
    /// A list or a tuple.
    List(Vec<Self>),
    /// An object or dict in the order of the message. A key may stand there
    /// more than once: the last one counts, as in Python.
    Dict(Vec<(Self, Self)>),
    /// `datetime.date(2031, 1, 1)`: what PyYAML makes of an unquoted date.
    Date(NaiveDate),
    /// `datetime.datetime(2031, 1, 1, 12, 0)`: what PyYAML makes of an
    /// unquoted time; with the offset where the message has a `tzinfo`.
    DateTime(NaiveDateTime, Option<FixedOffset>),
}

impl Value<'_> {
    /// The value of a text key of a dict; the last one where it is repeated.
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

    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The type in words for error messages, which must never show the value.
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
