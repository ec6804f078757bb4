//! The actions: one file each, and the one table of them.
//!
//! An action takes bound arguments and returns a value or an [`Error`]; it
//! never sees bytes, a queue or a reply. Dispatch, the command line client,
//! the documentation tests and the contract tests all loop over [`ACTIONS`].
//!
//! # Adding an action
//!
//! 1. A file beside the others: its `Signature` (names, kinds and order of
//!    the parameters, docs) and its `run`.
//! 2. A line in [`ACTIONS`].
//! 3. A new form of reply, if it has one, in `output.rs`.
//! 4. Contract cases in `tests/it/contract/`, a row in the README's table:
//!    tests fail until both are there.
//!
//! An action that changes something hands the store `call.outcome(…)` with the
//! change, so that a request that is delivered again is answered, not run.
//! An action that decides on what it read from the store hands the store the
//! precondition of it and wraps the deciding in [`retry_on_conflict`].

mod arguments;
mod authenticate_api_token;
mod authenticate_session;
mod authenticate_user;
mod bound;
mod call;
mod create_api_token;
mod create_session;
mod create_user;
mod delete_api_token;
mod delete_session;
mod delete_sessions;
mod delete_user;
mod disable_otp;
mod enable_otp;
mod get_api_tokens;
mod get_sessions;
mod get_user_by_session;
mod get_users;
mod output;
mod proof;
mod refresh_backup_codes;
mod signature;
mod time;
mod update_password;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::arguments::Arguments;
pub(crate) use self::bound::{check_new_password, check_new_username};
pub use self::call::{Call, outcome_context};
pub use self::output::{Output, Reason};
pub use self::signature::{Kind, Parameter, Signature};
use crate::clock::Clock;
use crate::credentials::{Blocklist, Credentials};
use crate::error::Error;
use crate::store::{Store, StoreError};

/// All actions, in the order of the documentation.
pub const ACTIONS: &[&dyn Action] = &[
    &create_user::CreateUser,
    &authenticate_user::AuthenticateUser,
    &update_password::UpdatePassword,
    &delete_user::DeleteUser,
    &create_session::CreateSession,
    &authenticate_session::AuthenticateSession,
    &delete_session::DeleteSession,
    &get_users::GetUsers,
    &get_user_by_session::GetUserBySession,
    &enable_otp::EnableOtp,
    &disable_otp::DisableOtp,
    &refresh_backup_codes::RefreshBackupCodes,
    &get_sessions::GetSessions,
    &delete_sessions::DeleteSessions,
    &create_api_token::CreateApiToken,
    &authenticate_api_token::AuthenticateApiToken,
    &get_api_tokens::GetApiTokens,
    &delete_api_token::DeleteApiToken,
];

/// The plugin whose actions these are.
pub const PLUGIN: &str = "user";

/// What an action works with.
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

/// What an action costs. A request with a cost waits for its turn before it
/// starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A look-up or a change.
    Light,
    /// Password hashes.
    Hash,
    /// Hashes of imported API tokens, as many as their users have: one such
    /// request at a time, as nobody counts how often somebody asks.
    TokenHashes,
    /// All users in memory, until the reply is sent.
    Listing,
    /// Any number of sessions of a user in memory, until the reply is sent.
    Sessions,
    /// What [`Action::cost_now`] says.
    Depends,
}

/// One action of the plugin.
#[async_trait]
pub trait Action: Send + Sync {
    /// Name, parameters and documentation.
    fn signature(&self) -> &'static Signature;

    /// What running it with these arguments costs.
    fn cost(&self, arguments: &Arguments) -> Cost;

    /// What running it with these arguments costs, where that depends on what
    /// is in the store.
    ///
    /// # Errors
    /// When the store fails.
    async fn cost_now(&self, _: &Services, _: &Arguments) -> Result<Cost, Error> {
        Ok(Cost::Hash)
    }

    /// The name under which a request waits for its turn: the one whose password
    /// or token is checked, whether or not anybody has it.
    fn turn_name<'a>(&self, arguments: &'a Arguments) -> &'a str {
        arguments.checked_name()
    }

    /// The answer to a request that is refused without being run: it looks like
    /// that to wrong credentials, with the error beside it.
    ///
    /// # Errors
    /// With `error`, where the action fails with an error.
    fn refused(&self, _: Arguments, error: Error) -> Result<Output, Error> {
        Err(error)
    }

    /// Whether its successes belong into the audit trail.
    fn is_audited(&self) -> bool {
        true
    }

    /// Runs the action.
    ///
    /// # Errors
    /// With the text of the contract.
    async fn run(
        &self,
        services: &Services,
        call: &Call,
        arguments: Arguments,
    ) -> Result<Output, Error>;
}

/// Decides again as long as what was read to decide has changed by the time
/// the store was to act on it. It ends: each round means that somebody else's
/// change went through.
pub(crate) async fn retry_on_conflict<T, F>(mut decide: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    loop {
        match decide().await {
            Err(Error::Store(StoreError::Conflict)) => {}
            settled => return settled,
        }
    }
}
