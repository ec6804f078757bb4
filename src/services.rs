//! The services shared by actions, operator commands and imports, and the checks of new names and
//! passwords.

use std::sync::Arc;

use crate::clock::Clock;
use crate::credentials::{Blocklist, Credentials};
use crate::error::Error;
use crate::store::{Store, StoreError};
use crate::text;

/// The store, and the services and settings that actions need with it.
pub struct Services {
    /// Users and sessions.
    pub store: Arc<dyn Store>,
    /// Checks and creates credentials.
    pub credentials: Credentials,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The issuer that authenticators show for second factors.
    pub issuer: String,
    /// Whether a password change ends all sessions of the user.
    pub revoke_on_password_change: bool,
    /// Limits of arguments.
    pub limits: Limits,
}

/// Limits of arguments, from the configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum bytes of a user name.
    pub max_username_length: usize,
    /// Minimum characters of a new password.
    pub min_password_length: usize,
    /// Maximum bytes of any password.
    pub max_password_length: usize,
    /// Passwords that are refused as new ones.
    pub blocklist: Option<Arc<Blocklist>>,
}

impl Limits {
    /// Checks the length of a name in the argument `argument`.
    ///
    /// # Errors
    /// When the name is too long.
    pub fn check_username_length(&self, argument: &str, name: &str) -> Result<(), Error> {
        let limit = self.max_username_length;
        at_most(argument, name, limit, "max_username_length")
    }

    /// Checks the length of a password in the argument `argument`.
    ///
    /// # Errors
    /// When the password is too long.
    pub fn check_password_length(&self, argument: &str, password: &str) -> Result<(), Error> {
        let limit = self.max_password_length;
        at_most(argument, password, limit, "password.max_length")
    }

    /// Checks the name of a new user.
    ///
    /// # Errors
    /// When the name is too long, blank, or has text that [`check_name`] refuses.
    pub fn check_new_username(&self, username: &str) -> Result<(), Error> {
        self.check_username_length("username", username)?;
        if text::is_blank(username) {
            return Err(Error::InvalidUsername);
        }
        check_name("username", username)
    }

    /// Checks a new password.
    ///
    /// # Errors
    /// When the password is empty, too short, or on the blocklist.
    pub fn check_new_password(&self, password: &str) -> Result<(), Error> {
        let min = self.min_password_length;
        let blocked = |list: &Arc<Blocklist>| list.contains(password);
        if password.is_empty() {
            Err(Error::EmptyPassword)
        } else if password.chars().count() < min {
            Err(Error::PasswordTooShort { min })
        } else if self.blocklist.as_ref().is_some_and(blocked) {
            Err(Error::CommonPassword)
        } else {
            Ok(())
        }
    }
}

/// Checks that a new name has no text that Platypush would evaluate, and no invisible character.
///
/// # Errors
/// When the name has such text. The error shows the code point.
pub fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    text::check_name(name).map_err(|unusable| Error::UnusableName { what, unusable })
}

fn at_most(argument: &str, text: &str, limit: usize, key: &str) -> Result<(), Error> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(Error::Arguments(format!(
        "'{argument}' is {} bytes long, at most {limit} are allowed ({key})",
        text.len()
    )))
}

/// Maximum number of attempts of one request. Each conflict means that another change succeeded.
const MAX_ATTEMPTS: u32 = 32;

/// Runs `attempt` until it ends without a conflict. A conflict means that data on which the attempt
/// depends has changed between its read and its write.
///
/// # Errors
/// With the error of the last attempt; with `Busy` after `MAX_ATTEMPTS` conflicts, which leave no
/// effect.
pub async fn retry_on_conflict<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 0..MAX_ATTEMPTS {
        match attempt().await {
            Err(Error::Store(StoreError::Conflict)) => {}
            result => return result,
        }
    }
    Err(Error::Busy(1))
}
