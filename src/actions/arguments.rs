//! Binding arguments to a signature, with Python's rules and Python's words.

use secrecy::SecretString;

use super::Limits;
use super::signature::Signature;
use crate::clock::Timestamp;
use crate::credentials::Executor;
use crate::error::{Error, echo};
use crate::value::Value;

/// The arguments of one call, bound to the parameters of its signature.
/// Reading one takes it out.
pub struct Arguments<'m> {
    signature: &'static Signature,
    values: Vec<Option<Value<'m>>>,
}

impl<'m> Arguments<'m> {
    /// Binds `args`: an object by name, a list by position, null as none.
    ///
    /// # Errors
    /// In Python's words: unknown, missing or too many arguments.
    pub fn bind(signature: &'static Signature, args: Value<'m>) -> Result<Self, Error> {
        let mut bound = Self {
            signature,
            values: signature.parameters.iter().map(|_| None).collect(),
        };
        let mut extra = None;
        match args {
            Value::Null => {}
            Value::Dict(entries) => extra = bound.bind_keywords(entries)?,
            Value::List(values) => bound.bind_positions(values)?,
            other => {
                return Err(Error::Arguments(format!(
                    "args must be an object or a list, not {}",
                    other.type_name()
                )));
            }
        }
        bound.check_required()?;
        match extra {
            Some(error) => Err(error),
            None => Ok(bound),
        }
    }

    /// Gives the error of the first keyword that only `**kwargs` would take:
    /// Python looks at what is missing before the function looks at those.
    fn bind_keywords(
        &mut self,
        entries: Vec<(Value<'m>, Value<'m>)>,
    ) -> Result<Option<Error>, Error> {
        let mut extra = None;
        for (key, value) in entries {
            let Value::Text(key) = key else {
                return Err(Error::Arguments("keywords must be strings".into()));
            };
            match self.position(&key) {
                Some(position) => self.values[position] = Some(value),
                None if self.signature.keywords_of.is_some() => {
                    extra.get_or_insert_with(|| self.unknown_keyword(&key));
                }
                None => return Err(self.unknown_keyword(&key)),
            }
        }
        Ok(extra)
    }

    fn bind_positions(&mut self, values: Vec<Value<'m>>) -> Result<(), Error> {
        if values.len() > self.values.len() {
            return Err(self.too_many(values.len()));
        }
        for (slot, value) in self.values.iter_mut().zip(values) {
            *slot = Some(value);
        }
        Ok(())
    }

    fn check_required(&self) -> Result<(), Error> {
        let missing: Vec<_> = self
            .signature
            .parameters
            .iter()
            .zip(&self.values)
            .filter(|(parameter, value)| parameter.required && value.is_none())
            .map(|(parameter, _)| format!("'{}'", parameter.name))
            .collect();
        let names = match missing.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [first, second] => format!("{first} and {second}"),
            [most @ .., last] => format!("{}, and {last}", most.join(", ")),
        };
        Err(Error::Arguments(format!(
            "user.{}() missing {} required positional argument{}: {names}",
            self.signature.name,
            missing.len(),
            if missing.len() == 1 { "" } else { "s" },
        )))
    }

    fn unknown_keyword(&self, key: &str) -> Error {
        let key = echo(key);
        Error::Arguments(match self.signature.keywords_of {
            Some(model) => format!("'{key}' is an invalid keyword argument for {model}"),
            None => format!(
                "user.{}() got an unexpected keyword argument '{key}'",
                self.signature.name
            ),
        })
    }

    fn too_many(&self, given: usize) -> Error {
        let most = self.values.len();
        let least = self
            .signature
            .parameters
            .iter()
            .filter(|parameter| parameter.required)
            .count();
        let takes = if least == most {
            format!("{most}")
        } else {
            format!("from {least} to {most}")
        };
        Error::Arguments(format!(
            "user.{}() takes {takes} positional argument{} but {given} {} given",
            self.signature.name,
            if takes == "1" { "" } else { "s" },
            if given == 1 { "was" } else { "were" },
        ))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.signature
            .parameters
            .iter()
            .position(|parameter| parameter.name == name)
    }

    /// Whether an argument was given and is not null or empty text.
    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name)
            .and_then(|position| self.values[position].as_ref())
            .is_some_and(|value| match value {
                Value::Null => false,
                Value::Text(text) => !text.is_empty(),
                _ => true,
            })
    }

    fn take(&mut self, name: &str) -> Value<'m> {
        self.position(name)
            .and_then(|position| self.values[position].take())
            .unwrap_or(Value::Null)
    }

    /// Text as it was given, to be looked at before it is read.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        match self.values[self.position(name)?].as_ref()? {
            Value::Text(text) | Value::Int(text) => Some(text),
            _ => None,
        }
    }

    /// A required whole number from 1 on: the number of something.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, Error> {
        let bad = |what: &str| {
            Err(Error::Arguments(format!(
                "'{name}' must be a whole number from 1 on, not {what}"
            )))
        };
        match self.take(name) {
            Value::Int(digits) | Value::Text(digits) => match digits.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => bad(&echo(&digits)),
            },
            other => bad(other.type_name()),
        }
    }

    /// Required text. An integer counts as its digits: Platypush decodes text
    /// that looks like JSON before it sends it.
    fn text(&mut self, name: &str) -> Result<String, Error> {
        match self.take(name) {
            Value::Text(text) | Value::Int(text) => Ok(text.into_owned()),
            other => Err(Error::Arguments(format!(
                "'{name}' must be text, not {}. Platypush decodes text that looks like JSON: \
                 in a procedure or hook, write the value as JSON text twice quoted",
                other.type_name()
            ))),
        }
    }

    /// Optional text: null and empty text are none.
    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Error> {
        if !self.has(name) {
            return Ok(None);
        }
        self.text(name).map(Some)
    }

    /// A required user name.
    pub(super) fn username(&mut self, limits: &Limits) -> Result<String, Error> {
        let username = self.text("username")?;
        check_username("username", &username, limits)?;
        Ok(username)
    }

    /// An optional name, as long as that of a user may be.
    pub(super) fn optional_name(
        &mut self,
        name: &str,
        limits: &Limits,
    ) -> Result<Option<String>, Error> {
        let text = self.optional_text(name)?;
        if let Some(text) = &text {
            check_username(name, text, limits)?;
        }
        Ok(text)
    }

    /// A required password, which may be empty: whether that is allowed is
    /// the action's to say.
    pub(super) fn password(&mut self, name: &str, limits: &Limits) -> Result<SecretString, Error> {
        let password = self.text(name)?;
        check_password(name, &password, limits)?;
        Ok(password.into())
    }

    /// A required password that is to become somebody's: neither empty nor
    /// too short. Length is counted in characters, as NIST SP 800-63B-4 does.
    pub(super) fn new_password(
        &mut self,
        name: &str,
        limits: &Limits,
    ) -> Result<SecretString, Error> {
        let password = self.text(name)?;
        check_new_password(name, &password, limits)?;
        Ok(password.into())
    }

    /// A required secret, such as a session token.
    pub(super) fn secret(&mut self, name: &str) -> Result<SecretString, Error> {
        Ok(self.text(name)?.into())
    }

    /// An optional secret, such as a one-time code.
    pub(super) fn optional_secret(&mut self, name: &str) -> Result<Option<SecretString>, Error> {
        Ok(self.optional_text(name)?.map(SecretString::from))
    }

    /// Whoever asks: `executing_user`, its password, `session_token`.
    pub(super) fn executor(&mut self, limits: &Limits) -> Result<Executor, Error> {
        let username = self.optional_text("executing_user")?;
        let password = self.optional_text("executing_user_password")?;
        if let Some(username) = &username {
            check_username("executing_user", username, limits)?;
        }
        if let Some(password) = &password {
            check_password("executing_user_password", password, limits)?;
        }
        Ok(Executor {
            username,
            password: password.map(SecretString::from),
            session_token: self.optional_secret("session_token")?,
        })
    }

    /// true/false, 0/1; null and absent are false.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
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

    /// A moment, or none.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Error> {
        super::time::from_value(name, self.take(name))
    }
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
    if username.trim().is_empty() {
        return Err(Error::InvalidUsername);
    }
    Ok(())
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
