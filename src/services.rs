//! What actions, the operator's commands and imports work with.

use std::sync::Arc;

use crate::clock::Clock;
use crate::credentials::{Blocklist, Credentials};
use crate::error::Error;
use crate::store::{Store, StoreError};
use crate::text;

/// The store and everything that decides about it.
pub struct Services {
    /// Users and sessions.
    pub store: Arc<dyn Store>,
    /// Who somebody is.
    pub credentials: Credentials,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who is named as the issuer of second factors.
    pub issuer: String,
    /// Whether a password change ends all sessions of the user.
    pub revoke_on_password_change: bool,
    /// Bounds of arguments.
    pub limits: Limits,
}

/// Bounds of arguments, from the configuration.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a user name.
    pub max_username_length: usize,
    /// Characters of a new password.
    pub min_password_length: usize,
    /// Bytes of any password.
    pub max_password_length: usize,
    /// New passwords that are not taken.
    pub blocklist: Option<Arc<Blocklist>>,
}

impl Limits {
    /// Checks the length of a name that stands in the argument `argument`.
    ///
    /// # Errors
    /// When it is too long.
    pub fn check_username_length(&self, argument: &str, name: &str) -> Result<(), Error> {
        let limit = self.max_username_length;
        at_most(argument, name, limit, "max_username_length")
    }

    /// Checks the length of a password that stands in the argument `argument`.
    ///
    /// # Errors
    /// When it is too long.
    pub fn check_password_length(&self, argument: &str, password: &str) -> Result<(), Error> {
        let limit = self.max_password_length;
        at_most(argument, password, limit, "password.max_length")
    }

    /// Checks the name of a new user.
    ///
    /// # Errors
    /// With what is wrong with it.
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
    /// With what is wrong with it.
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

/// Checks that a new name contains nothing that Platypush would evaluate or that cannot be seen.
///
/// # Errors
/// With the code point.
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

/// Maximum number of decisions about one request. Each conflict means that another change went
/// through; a request that meets so many is refused.
const MAX_TRIES: u32 = 32;

/// Decides again while what was read to decide has changed by the time the store was to act on it.
///
/// # Errors
/// With the error of the decision; `Busy` after too many conflicts, and nothing was done.
pub async fn retry_on_conflict<T, F>(mut decide: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 0..MAX_TRIES {
        match decide().await {
            Err(Error::Store(StoreError::Conflict)) => {}
            result => return result,
        }
    }
    Err(Error::Busy(1))
}
