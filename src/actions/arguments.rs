//! Binding arguments to a signature, with Python's rules and Python's words.
//!
//! Types and lengths are checked here, before a request waits for anything, and
//! what is bound is owned: a request that waits keeps neither its message nor
//! anything else of it.

use secrecy::{ExposeSecret as _, SecretString};

use super::Limits;
use super::bound::Bound;
use super::signature::Signature;
use crate::clock::Timestamp;
use crate::credentials::Executor;
use crate::error::{Error, echo};
use crate::value::Value;

/// The arguments of one call, bound to the parameters of its signature.
/// Reading one takes it out.
pub struct Arguments {
    signature: &'static Signature,
    values: Vec<Option<Bound>>,
}

impl Arguments {
    /// Binds `args`: an object by name, a list by position, null as none.
    ///
    /// # Errors
    /// In Python's words: unknown, missing or too many arguments; then the first
    /// one that is of another type, or too long.
    pub fn bind(
        signature: &'static Signature,
        args: Value<'_>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let given = Given::bind(signature, args)?;
        let values = signature
            .parameters
            .iter()
            .zip(given.values)
            .map(|(parameter, value)| match value {
                Some(value) => parameter.check(value, limits),
                None => Ok(None),
            });
        Ok(Self {
            signature,
            values: values.collect::<Result<_, _>>()?,
        })
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.signature.position(name)
    }

    /// Whether an argument was given and is not null or empty text.
    pub(super) fn has(&self, name: &str) -> bool {
        self.position(name)
            .is_some_and(|position| self.values[position].is_some())
    }

    /// Text that is there, to be looked at before it is taken.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        match self.values[self.position(name)?].as_ref()? {
            Bound::Text(text) => Some(text),
            Bound::Secret(secret) => Some(secret.expose_secret()),
            _ => None,
        }
    }

    /// The name whose password the action checks: the executing user's, where
    /// the action has one. Where it is a session that proves who asks, its token
    /// stands for the name; nothing, where nobody proves anything.
    pub(super) fn checked_name(&self) -> &str {
        let names: &[_] = match self.position("executing_user") {
            Some(_) => &["executing_user", "session_token"],
            None => &["username", "session_token"],
        };
        let mut given = names.iter().filter_map(|name| self.peek(name));
        given.find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// Bytes of all texts among them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |value: &Bound| match value {
            Bound::Text(text) => text.len(),
            Bound::Secret(secret) => secret.expose_secret().len(),
            _ => 0,
        };
        self.values.iter().flatten().map(of).sum()
    }

    fn take(&mut self, name: &str) -> Option<Bound> {
        self.position(name)
            .and_then(|position| self.values[position].take())
    }

    /// An action asked for an argument that its signature does not have so.
    fn not_declared(&self, name: &str) -> Error {
        let action = self.signature.name;
        Error::Internal(format!(
            "{action} has no argument '{name}' of the kind it takes"
        ))
    }

    /// A required whole number from 1 on: the number of something.
    pub(super) fn number(&mut self, name: &str) -> Result<u64, Error> {
        match self.take(name) {
            Some(Bound::Number(number)) => Ok(number),
            _ => Err(self.not_declared(name)),
        }
    }

    /// Required text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, Error> {
        self.optional_text(name)?
            .ok_or_else(|| self.not_declared(name))
    }

    /// Optional text: null and empty text are none.
    pub(super) fn optional_text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Bound::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.not_declared(name)),
        }
    }

    /// A required secret, such as a password or a session token. It may be empty:
    /// whether that is allowed is the action's to say.
    pub(super) fn secret(&mut self, name: &str) -> Result<SecretString, Error> {
        self.optional_secret(name)?
            .ok_or_else(|| self.not_declared(name))
    }

    /// An optional secret, such as a one-time code.
    pub(super) fn optional_secret(&mut self, name: &str) -> Result<Option<SecretString>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Bound::Secret(secret)) => Ok(Some(secret)),
            Some(_) => Err(self.not_declared(name)),
        }
    }

    /// A required password that is to become somebody's: neither empty nor
    /// too short. Length is counted in characters, as NIST SP 800-63B-4 does.
    pub(super) fn new_password(
        &mut self,
        name: &str,
        limits: &Limits,
    ) -> Result<SecretString, Error> {
        let password = self.secret(name)?;
        limits.check_new_password(password.expose_secret())?;
        Ok(password)
    }

    /// Whoever asks: `executing_user`, its password, `session_token`.
    pub(super) fn executor(&mut self) -> Result<Executor, Error> {
        Ok(Executor {
            username: self.optional_text("executing_user")?,
            password: self.optional_secret("executing_user_password")?,
            session_token: self.optional_secret("session_token")?,
        })
    }

    /// true/false, 0/1; null and absent are false.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.take(name) {
            None => Ok(false),
            Some(Bound::Flag(flag)) => Ok(flag),
            Some(_) => Err(self.not_declared(name)),
        }
    }

    /// A moment, or none.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<Timestamp>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Bound::Time(time)) => Ok(Some(time)),
            Some(_) => Err(self.not_declared(name)),
        }
    }
}

impl Signature {
    fn position(&self, name: &str) -> Option<usize> {
        self.parameters
            .iter()
            .position(|parameter| parameter.name == name)
    }
}

/// Values as Python binds them, whatever they are.
struct Given<'m> {
    signature: &'static Signature,
    values: Vec<Option<Value<'m>>>,
}

impl<'m> Given<'m> {
    fn bind(signature: &'static Signature, args: Value<'m>) -> Result<Self, Error> {
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
            match self.signature.position(&key) {
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
}
