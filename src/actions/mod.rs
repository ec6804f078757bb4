//! The actions: one file each, and the one table of them.
//!
//! An action takes its arguments and returns a value or an [`Error`]; it
//! never sees bytes, a queue or a reply. Dispatch, the command line client,
//! the documentation tests and the contract tests all loop over [`ACTIONS`].
//!
//! # Adding an action
//!
//! 1. A file beside the others: its arguments (`arguments!`), its `ACTION` (name and documentation)
//!    and its `run`.
//! 2. A line in [`ACTIONS`].
//! 3. A new form of reply, if it has one, in `output.rs`.
//! 4. Contract cases in `tests/it/contract/`, a row in the README's table: tests fail until both are
//!    there.
//!
//! An action that changes something hands the store `call.outcome(…)` with the
//! change, so that a request that is delivered again is answered, not run.
//! An action that decides on what it read from the store hands the store the
//! precondition of it and wraps the deciding in [`retry_on_conflict`].

mod argument;
mod authenticate_api_token;
mod authenticate_session;
mod authenticate_user;
mod bind;
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
mod parameter;
mod proof;
mod refresh_backup_codes;
mod time;
mod update_password;

use async_trait::async_trait;

pub use self::argument::{Argument, Name, Password, Secret, Text};
pub use self::bind::{FromArguments, Values};
pub use self::call::Call;
pub use self::output::Output;
pub use self::parameter::{Kind, Parameter, Signature};
use crate::error::Error;
use crate::services::{Limits, Services};
use crate::value::Value;

/// All actions, in the order of the documentation.
pub static ACTIONS: &[Action] = &[
    create_user::ACTION,
    authenticate_user::ACTION,
    update_password::ACTION,
    delete_user::ACTION,
    create_session::ACTION,
    authenticate_session::ACTION,
    delete_session::ACTION,
    get_users::ACTION,
    get_user_by_session::ACTION,
    enable_otp::ACTION,
    disable_otp::ACTION,
    refresh_backup_codes::ACTION,
    get_sessions::ACTION,
    delete_sessions::ACTION,
    create_api_token::ACTION,
    authenticate_api_token::ACTION,
    get_api_tokens::ACTION,
    delete_api_token::ACTION,
];

/// The plugin whose actions these are.
pub const PLUGIN: &str = "user";

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
    /// [`Run::cost_now`] tells.
    Depends,
}

/// An action of the plugin: its description, and the type of its arguments that runs it.
pub struct Action {
    signature: Signature,
    is_audited: bool,
    bind: fn(&'static Signature, Value<'_>, &Limits) -> Result<BoundAction, Error>,
}

/// An action with its arguments.
pub struct BoundAction {
    /// Runs it.
    pub run: Box<dyn Run>,
    /// Bytes of all texts among the arguments.
    pub bytes: usize,
}

impl Action {
    /// Describes an action that the arguments `T` run.
    #[must_use]
    pub const fn new<T: FromArguments + Run>(
        name: &'static str,
        doc: &'static str,
        returns: &'static str,
    ) -> Self {
        Self {
            signature: Signature {
                name,
                parameters: T::PARAMETERS,
                keywords_of: None,
                doc,
                returns,
            },
            is_audited: true,
            bind: |signature, args, limits| {
                let (arguments, bytes) = bind::bind::<T>(signature, args, limits)?;
                Ok(BoundAction {
                    run: Box::new(arguments),
                    bytes,
                })
            },
        }
    }

    /// Names the model that takes further keywords in Platypush's signature.
    const fn with_keywords_of(mut self, model: &'static str) -> Self {
        self.signature.keywords_of = Some(model);
        self
    }

    /// Keeps successes out of the audit trail.
    const fn unaudited(mut self) -> Self {
        self.is_audited = false;
        self
    }

    /// Returns name, parameters and documentation.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Returns whether successes belong into the audit trail.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.is_audited
    }

    /// Binds the `args` of a request.
    ///
    /// # Errors
    /// When they do not fit the signature.
    pub fn bind(&'static self, args: Value<'_>, limits: &Limits) -> Result<BoundAction, Error> {
        (self.bind)(&self.signature, args, limits)
    }
}

/// The arguments of an action, ready to run it.
#[async_trait]
pub trait Run: Send + Sync + 'static {
    /// Returns what running it costs.
    fn cost(&self) -> Cost;

    /// Returns what running it costs, where that depends on the store.
    ///
    /// # Errors
    /// When the store fails.
    async fn cost_now(&self, _: &Services) -> Result<Cost, Error> {
        Ok(Cost::Hash)
    }

    /// Returns the name under which the request waits for its turn: the one whose password or token
    /// is checked, whether or not there is such a user.
    fn turn_name(&self) -> &str {
        ""
    }

    /// Returns the answer to a request that is refused without being run: it looks like that to
    /// wrong credentials, with the error beside it.
    ///
    /// # Errors
    /// With `error`, where the action fails with an error.
    fn refused(&self, error: Error) -> Result<Output, Error> {
        Err(error)
    }

    /// Runs the action.
    ///
    /// # Errors
    /// With the text of the contract.
    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error>;
}
