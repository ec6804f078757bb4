//! The actions, one file each, and the table of them. `ARCHITECTURE.md` has the recipe for a new
//! one.
//!
//! An action takes its arguments and returns a value or an [`Error`]; it is independent of bytes,
//! queue and reply. Dispatch, the command line client, the documentation tests and the contract
//! tests iterate over [`ACTIONS`].
//!
//! An action that changes data passes `call.outcome(…)` to the store with the change, so that a
//! redelivered request is answered from its outcome and not run again. An action whose change
//! depends on data that it has read passes a precondition for that data, and runs in
//! [`retry_on_conflict`].
//!
//! [`retry_on_conflict`]: crate::services::retry_on_conflict

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

/// Name of the Platypush plugin that has these actions.
pub const PLUGIN: &str = "user";

/// The cost of a request. A request that is not [`Light`](Self::Light) waits for a turn before it
/// starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A look-up or a change.
    Light,
    /// Password hashes.
    Hash,
    /// Hashes of imported API tokens, as many as their users have. Such requests run one at a time,
    /// because no throttle limits them.
    TokenHashes,
    /// A list of all users in memory, until the reply is sent.
    Listing,
    /// A list of all sessions of a user in memory, until the reply is sent.
    Sessions,
    /// The cost depends on the store: see [`Run::cost_now`].
    Depends,
}

/// An action of the plugin: its description, and the binding of its arguments.
pub struct Action {
    signature: Signature,
    is_audited: bool,
    bind: fn(&'static Signature, Value<'_>, &Limits) -> Result<BoundAction, Error>,
}

/// An action with bound arguments.
pub struct BoundAction {
    /// The arguments, which run the action.
    pub run: Box<dyn Run>,
    /// Bytes of the texts of all arguments.
    pub bytes: usize,
}

impl Action {
    /// Returns an action with the arguments `T`.
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

    /// Sets the model that takes further keywords in Platypush's signature.
    const fn with_keywords_of(mut self, model: &'static str) -> Self {
        self.signature.keywords_of = Some(model);
        self
    }

    /// Excludes successes from the audit trail.
    const fn unaudited(mut self) -> Self {
        self.is_audited = false;
        self
    }

    /// Returns the name, parameters and documentation.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Returns whether the audit trail includes successes.
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
    /// Returns the cost of the request, and the name under which it waits for its turn: the name
    /// whose password or token is checked, whether or not a user has it.
    fn turn(&self) -> (Cost, &str);

    /// Returns the present cost of a request whose cost [depends](Cost::Depends) on the store.
    ///
    /// # Errors
    /// When the store fails.
    async fn cost_now(&self, _: &Services) -> Result<Cost, Error> {
        Ok(Cost::Hash)
    }

    /// Returns the result of a request that is refused without running. An action whose output
    /// reports wrong credentials returns that output, with `error` beside it.
    ///
    /// # Errors
    /// With `error` for any other action.
    fn refused(&self, error: Error) -> Result<Output, Error> {
        Err(error)
    }

    /// Runs the action.
    ///
    /// # Errors
    /// When the action fails.
    async fn run(self: Box<Self>, services: &Services, call: &Call) -> Result<Output, Error>;
}
