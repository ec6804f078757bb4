//! Binds the `args` of a request to the parameters of an action, with the rules and error texts of
//! Python.

use super::argument::Argument;
use super::parameter::{Parameter, Signature};
use crate::error::{Error, echo};
use crate::services::Limits;
use crate::value::Value;

/// The arguments of an action. [`arguments!`] declares implementations.
///
/// [`arguments!`]: crate::arguments
pub trait FromArguments: Sized {
    /// The parameters, in positional order.
    const PARAMETERS: &'static [Parameter];

    /// Returns the arguments, from values in the order of the parameters.
    ///
    /// # Errors
    /// When a value has a wrong type or is too long. The error is that of the first such value.
    fn from_values(values: &mut Values<'_>, limits: &Limits) -> Result<Self, Error>;
}

/// Declares the arguments of an action: a struct with a documented field for each parameter.
#[macro_export]
macro_rules! arguments {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($field:ident: $type:ty = $doc:expr,)*
    }) => {
        $(#[$attribute])*
        $visibility struct $name {
            $($field: $type,)*
        }

        impl $crate::actions::FromArguments for $name {
            const PARAMETERS: &'static [$crate::actions::Parameter] = &[
                $($crate::actions::Parameter::of::<$type>(stringify!($field), $doc),)*
            ];

            fn from_values(
                values: &mut $crate::actions::Values<'_>,
                limits: &$crate::actions::Limits,
            ) -> Result<Self, $crate::error::Error> {
                // Otherwise unused in an action without parameters.
                let _ = (&values, limits);
                Ok(Self {
                    $($field: values.next(limits)?,)*
                })
            }
        }
    };
}

/// The values of a request, in the order of the parameters.
pub struct Values<'m> {
    parameters: std::slice::Iter<'static, Parameter>,
    values: std::vec::IntoIter<Option<Value<'m>>>,
    bytes: usize,
}

impl Values<'_> {
    /// Returns the next argument.
    ///
    /// # Errors
    /// When the value has a wrong type or is too long.
    pub fn next<T: Argument>(&mut self, limits: &Limits) -> Result<T, Error> {
        let name = self
            .parameters
            .next()
            .map_or("", |parameter| parameter.name);
        let argument = match self.values.next().flatten() {
            Some(value) => T::from_value(name, value, limits)?,
            // `Given::check_required` has refused a missing required argument.
            None => T::absent().ok_or_else(|| Error::Internal(format!("no argument '{name}'")))?,
        };
        self.bytes += argument.bytes();
        Ok(argument)
    }
}

/// Binds `args` to the arguments `T`: an object by name, a list by position, null as no arguments.
/// Returns the bytes of their texts as well.
///
/// # Errors
/// When arguments are unknown, missing or too many, with Python's text; else when a value has a
/// wrong type or is too long.
pub(super) fn bind<T: FromArguments>(
    signature: &'static Signature,
    args: Value<'_>,
    limits: &Limits,
) -> Result<(T, usize), Error> {
    let given = Given::bind(signature, args)?;
    let mut values = Values {
        parameters: signature.parameters.iter(),
        values: given.values.into_iter(),
        bytes: 0,
    };
    let arguments = T::from_values(&mut values, limits)?;
    Ok((arguments, values.bytes))
}

impl Signature {
    fn position(&self, name: &str) -> Option<usize> {
        self.parameters
            .iter()
            .position(|parameter| parameter.name == name)
    }
}

/// The values of a request bound to parameters as in Python, before their types are checked.
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

    /// Binds keywords. Returns the error of the first keyword that only `**kwargs` accepts: it is
    /// reported last, because Python reports missing arguments before the function sees `**kwargs`.
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
            [only] => only.clone(),
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
