//! One argument, checked against the kind of its parameter.

use secrecy::SecretString;

use super::Limits;
use super::signature::{Kind, Parameter};
use crate::clock::Timestamp;
use crate::error::{Error, echo};
use crate::text;
use crate::value::Value;

/// Longest text of an argument that is no name or password, in bytes. No code,
/// token or id is as long, so a longer one is as wrong as its beginning.
const LONGEST_TEXT: usize = 8_192;

/// An argument of the kind that its parameter has.
pub(super) enum Bound {
    Text(String),
    Secret(SecretString),
    Flag(bool),
    Number(u64),
    Time(Timestamp),
}

impl Parameter {
    /// The value as the parameter's kind has it; `None` where it counts as not
    /// given.
    pub(super) fn check(&self, value: Value<'_>, limits: &Limits) -> Result<Option<Bound>, Error> {
        Ok(Some(match self.kind {
            Kind::Number => Bound::Number(self.number(value)?),
            Kind::Time => return Ok(super::time::from_value(self.name, value)?.map(Bound::Time)),
            Kind::Flag => Bound::Flag(self.flag(&value)?),
            Kind::Text | Kind::Name | Kind::Secret | Kind::Password => {
                let is_empty = match &value {
                    Value::Null => true,
                    Value::Text(text) => text.is_empty(),
                    _ => false,
                };
                if is_empty && !self.required {
                    return Ok(None);
                }
                self.text(value, limits)?
            }
        }))
    }

    /// Text. An integer counts as its digits: Platypush decodes text that looks
    /// like JSON before it sends it.
    fn text(&self, value: Value<'_>, limits: &Limits) -> Result<Bound, Error> {
        let name = self.name;
        let (Value::Text(text) | Value::Int(text)) = value else {
            return Err(Error::Arguments(format!(
                "'{name}' must be text, not {}. Platypush decodes text that looks like JSON: \
                 in a procedure or hook, write the value as JSON text twice quoted",
                value.type_name()
            )));
        };
        Ok(match self.kind {
            Kind::Name => {
                check_username(name, &text, limits)?;
                Bound::Text(text.into_owned())
            }
            Kind::Password => {
                check_password(name, &text, limits)?;
                Bound::Secret(text.into_owned().into())
            }
            Kind::Secret => Bound::Secret(short(&text).into()),
            _ => Bound::Text(short(&text)),
        })
    }

    fn flag(&self, value: &Value<'_>) -> Result<bool, Error> {
        match value {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(*flag),
            Value::Int(digits) if digits == "0" => Ok(false),
            Value::Int(digits) if digits == "1" => Ok(true),
            other => Err(Error::Arguments(format!(
                "'{}' must be true or false, not {}",
                self.name,
                other.type_name()
            ))),
        }
    }

    fn number(&self, value: Value<'_>) -> Result<u64, Error> {
        let bad = |what: &str| {
            Err(Error::Arguments(format!(
                "'{}' must be a whole number from 1 on, not {what}",
                self.name
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

/// The beginning of a text that may be too long to mean anything.
fn short(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn check_username(name: &str, username: &str, limits: &Limits) -> Result<(), Error> {
    at_most(
        name,
        username,
        limits.max_username_length,
        "max_username_length",
    )
}

fn check_password(name: &str, password: &str, limits: &Limits) -> Result<(), Error> {
    at_most(
        name,
        password,
        limits.max_password_length,
        "password.max_length",
    )
}

/// Checks a name that is to become somebody's.
pub(crate) fn check_new_username(username: &str, limits: &Limits) -> Result<(), Error> {
    check_username("username", username, limits)?;
    if text::is_blank(username) {
        return Err(Error::InvalidUsername);
    }
    check_name("username", username)
}

/// Checks that a new name has nothing in it that Platypush would evaluate, or
/// that cannot be seen.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    text::check_name(name).map_err(|unusable| Error::UnusableName { what, unusable })
}

/// Checks a password that is to become somebody's.
pub(crate) fn check_new_password(name: &str, password: &str, limits: &Limits) -> Result<(), Error> {
    check_password(name, password, limits)?;
    limits.check_new_password(password)
}

fn at_most(name: &str, text: &str, limit: usize, key: &str) -> Result<(), Error> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(Error::Arguments(format!(
        "'{name}' is {} bytes long, at most {limit} are allowed ({key})",
        text.len()
    )))
}
