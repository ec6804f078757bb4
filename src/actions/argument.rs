//! Types of arguments. Each checks the value of a parameter of its [`Kind`].
//!
//! Types and lengths are checked before a request waits for a turn. An argument owns its text, so
//! that a waiting request does not keep its message in memory.

use secrecy::{ExposeSecret as _, SecretString};

use super::parameter::{Kind, Parameter};
use crate::clock::Timestamp;
use crate::error::{Error, echo};
use crate::services::Limits;
use crate::value::Value;

/// Maximum length of text that is neither a name nor a password, in bytes. Longer text is cut: it
/// is invalid anyway, because all codes, tokens and ids are shorter.
const MAX_TEXT_BYTES: usize = 8_192;

/// A type of argument.
pub trait Argument: Sized {
    /// The kind of its parameter.
    const KIND: Kind;
    /// Whether its parameter is required.
    const REQUIRED: bool = true;

    /// Returns the argument for a value of the parameter `name`.
    ///
    /// # Errors
    /// When the value is of another type, or too long.
    fn from_value(name: &str, value: Value<'_>, limits: &Limits) -> Result<Self, Error>;

    /// Returns the argument of a request without a value for it, or `None` if it is required.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }

    /// Returns the bytes of the argument's text.
    #[must_use]
    fn bytes(&self) -> usize {
        0
    }
}

/// An optional argument. Null and empty text count as absent.
impl<T: Argument> Argument for Option<T> {
    const KIND: Kind = T::KIND;
    const REQUIRED: bool = false;

    fn from_value(name: &str, value: Value<'_>, limits: &Limits) -> Result<Self, Error> {
        match value {
            Value::Null => Ok(None),
            Value::Text(text) if text.is_empty() => Ok(None),
            value => T::from_value(name, value, limits).map(Some),
        }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, T::bytes)
    }
}

/// Text, cut to [`MAX_TEXT_BYTES`].
#[derive(Debug)]
pub struct Text(pub String);

impl Argument for Text {
    const KIND: Kind = Kind::Text;

    fn from_value(name: &str, value: Value<'_>, _: &Limits) -> Result<Self, Error> {
        text(name, value).map(|text| Self(cut(&text)))
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A name of a user or API token, of at most `max_username_length` bytes.
#[derive(Debug)]
pub struct Name(pub String);

impl Argument for Name {
    const KIND: Kind = Kind::Name;

    fn from_value(name: &str, value: Value<'_>, limits: &Limits) -> Result<Self, Error> {
        let text = text(name, value)?;
        limits.check_username_length(name, &text)?;
        Ok(Self(text.into_owned()))
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A secret such as a token or a one-time code, cut as [`Text`] is. It may be empty.
#[derive(Debug)]
pub struct Secret(pub SecretString);

impl Argument for Secret {
    const KIND: Kind = Kind::Secret;

    fn from_value(name: &str, value: Value<'_>, _: &Limits) -> Result<Self, Error> {
        text(name, value).map(|text| Self(cut(&text).into()))
    }

    fn bytes(&self) -> usize {
        self.0.expose_secret().len()
    }
}

/// A password of at most `password.max_length` bytes. It may be empty.
#[derive(Debug)]
pub struct Password(pub SecretString);

impl Argument for Password {
    const KIND: Kind = Kind::Password;

    fn from_value(name: &str, value: Value<'_>, limits: &Limits) -> Result<Self, Error> {
        let text = text(name, value)?;
        limits.check_password_length(name, &text)?;
        Ok(Self(text.into_owned().into()))
    }

    fn bytes(&self) -> usize {
        self.0.expose_secret().len()
    }
}

/// A flag: true, false, 1 or 0. Null and absent count as false.
impl Argument for bool {
    const KIND: Kind = Kind::Flag;
    const REQUIRED: bool = false;

    fn from_value(name: &str, value: Value<'_>, _: &Limits) -> Result<Self, Error> {
        match value {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(flag),
            Value::Int(digits) if digits == "0" => Ok(false),
            Value::Int(digits) if digits == "1" => Ok(true),
            other => Err(Error::Arguments(format!(
                "'{name}' must be true or false, not {}",
                other.type_name()
            ))),
        }
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

/// An id: a whole number from 1 on.
impl Argument for u64 {
    const KIND: Kind = Kind::Number;

    fn from_value(name: &str, value: Value<'_>, _: &Limits) -> Result<Self, Error> {
        let bad = |what: &str| {
            Err(Error::Arguments(format!(
                "'{name}' must be a whole number from 1 on, not {what}"
            )))
        };
        match value {
            Value::Int(digits) | Value::Text(digits) => match digits.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => bad(&echo(&digits)),
            },
            other => bad(other.type_name()),
        }
    }
}

/// A point in time.
impl Argument for Timestamp {
    const KIND: Kind = Kind::Time;

    fn from_value(name: &str, value: Value<'_>, _: &Limits) -> Result<Self, Error> {
        super::time::from_value(name, value)
    }
}

impl Parameter {
    /// Returns the parameter of an argument of type `T`.
    #[must_use]
    pub const fn of<T: Argument>(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            kind: T::KIND,
            required: T::REQUIRED,
            doc,
        }
    }
}

/// Returns the text of a value. An integer counts as its digits, because Platypush decodes text
/// that looks like JSON before it sends a request.
fn text<'m>(name: &str, value: Value<'m>) -> Result<std::borrow::Cow<'m, str>, Error> {
    match value {
        Value::Text(text) | Value::Int(text) => Ok(text),
        other => Err(Error::Arguments(format!(
            "'{name}' must be text, not {}. Platypush decodes text that looks like JSON: \
             in a procedure or hook, write the value as JSON text twice quoted",
            other.type_name()
        ))),
    }
}

/// Returns the first [`MAX_TEXT_BYTES`] of a text, up to a character boundary.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
