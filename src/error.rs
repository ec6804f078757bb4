//! The error type of actions, with the texts of the contract. It is independent of the transport:
//! dispatch encodes it as a reply in the last step.

use crate::random::NoRandomness;
use crate::store::StoreError;
use crate::text::Unusable;

/// Why an action failed.
///
/// `Display` is the text for the client, except for [`Error::Internal`] and
/// [`StoreError::Engine`], whose text goes to the log only.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request does not have the right token.
    #[error("Unauthorized")]
    Unauthorized,
    /// The request is for another device, and `accept_any_target` is off.
    #[error("This request is for {target}, not for {device_id} (accept_any_target is off)")]
    ForeignTarget {
        /// The target of the request.
        target: String,
        /// The name of this device.
        device_id: String,
    },
    /// The request names no action.
    #[error("No action specified in the request")]
    NoAction,
    /// The plugin does not have the action.
    #[error("No such action: {0}")]
    NoSuchAction(String),
    /// The daemon does not serve the plugin.
    #[error("No such plugin: {0}")]
    NoSuchPlugin(String),
    /// The request is too old: its sender has given up.
    #[error(
        "The request has expired: it was {from} and would have started at {now}, more than {max_age} s later (max_request_age); check the clocks if that is wrong"
    )]
    Expired {
        /// Time of sending or, without a timestamp, of fetching the request: ISO 8601 in UTC.
        from: String,
        /// Time at which the request would have started: ISO 8601 in UTC.
        now: String,
        /// Maximum age in seconds.
        max_age: u64,
    },
    /// Too many bytes of long replies are unread in Redis. Holds the seconds until enough of them
    /// have expired.
    #[error("Too many long replies have not been read: read them, or retry in {0} s")]
    UnreadReplies(u64),
    /// The timestamp of the request is not a number. Holds its type.
    #[error(
        "_timestamp must be a number, the seconds since the epoch at which the request was sent, not {0}; without it the age of a request counts from when it is taken"
    )]
    TimestampNoNumber(&'static str),
    /// The timestamp of the request is too far ahead.
    #[error(
        "_timestamp must be in seconds since the epoch: it stands for {sent}, more than a year after {now}. Milliseconds must be divided by 1,000"
    )]
    TimestampAhead {
        /// The time of the timestamp: ISO 8601 in UTC.
        sent: String,
        /// The daemon's time: ISO 8601 in UTC.
        now: String,
    },
    /// The turn of the request would come too late. Holds the seconds before a retry.
    #[error("Too busy, retry in {0} s")]
    Busy(u64),
    /// The arguments do not match the signature.
    #[error("{0}")]
    Arguments(String),
    /// Creating a user needs an executing user, because users exist.
    #[error("You need to authenticate in order to create another user")]
    AuthenticationNeeded,
    /// Neither the password of the executing user nor the session token is valid.
    #[error("Invalid credentials and/or session_token")]
    InvalidExecutor,
    /// Another user has the name.
    #[error("The user {0} already exists")]
    UserExists(String),
    /// The name of a new user is blank.
    #[error("Invalid or empty username")]
    InvalidUsername,
    /// The name of a new user or API token contains text that is not allowed.
    #[error("The {what} contains {unusable}: choose another one")]
    UnusableName {
        /// The kind of name.
        what: &'static str,
        /// The text that is not allowed.
        unusable: Unusable,
    },
    /// The new password is empty.
    #[error("Please provide a password for the user")]
    EmptyPassword,
    /// The new password is shorter than `password.min_length`.
    #[error(
        "The password is too short: at least {min} characters are needed (password.min_length)"
    )]
    PasswordTooShort {
        /// Minimum length in characters.
        min: usize,
    },
    /// The new password is on the blocklist.
    #[error(
        "The password is on a list of common or leaked passwords: choose another (password.blocklist_file)"
    )]
    CommonPassword,
    /// No user has the name.
    #[error("No such user: {0}")]
    NoSuchUser(String),
    /// The throttle refused the attempt without a check. Holds the seconds before a retry.
    #[error("Too many failed attempts, retry in {0} s")]
    Throttled(u64),
    /// Unknown user or wrong password.
    #[error("Invalid credentials")]
    InvalidCredentials,
    /// The password is right, but a one-time code is needed.
    #[error("missing_otp_code")]
    MissingCode,
    /// The password is right, but the one-time code is wrong.
    #[error("invalid_otp_code")]
    InvalidCode,
    /// The password is right, but the code does not match the secret to enroll. The time is not a
    /// secret, because each reply has it (`_timestamp`).
    #[error(
        "invalid_otp_code: this is no code of the otp_secret at {now} UTC, which is the time of the server; if the clock of the server or of the authenticator is wrong, set it"
    )]
    WrongEnrolmentCode {
        /// Time of the check: ISO 8601 in UTC.
        now: String,
    },
    /// The secret for an authenticator is not usable.
    #[error(
        "otp_secret must be base32 of 128 to 512 bits (26 to 103 characters): call enable_otp with dry_run to get one"
    )]
    BadOtpSecret,
    /// The second factor is on already.
    #[error("2FA is already enabled for {0}: disable it first")]
    OtpEnabled(String),
    /// The second factor is not on.
    #[error("2FA is not enabled for {0}")]
    OtpNotEnabled(String),
    /// The session is unknown, expired or deleted.
    #[error("Invalid session token")]
    InvalidSession,
    /// The session is unknown, expired or deleted; the text for `get_user_by_session`.
    #[error("No user associated with the specified session token")]
    NoUserForSession,
    /// The API token is unknown, expired or deleted.
    #[error("Invalid API token")]
    InvalidApiToken,
    /// Another API token of the user has the name.
    #[error("An API token named {0} already exists")]
    ApiTokenExists(String),
    /// The user has the maximum number of API tokens.
    #[error("{username} has {limit} API tokens, no more can be made: delete some")]
    TooManyApiTokens {
        /// The name of the user.
        username: String,
        /// Maximum number of valid API tokens.
        limit: usize,
    },
    /// The store refused or failed to execute an operation.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A defect of the daemon. The text goes to the log only.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// Returns a short name of the error for the log, without any text of the client.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::ForeignTarget { .. } => "foreign_target",
            Self::NoAction => "no_action",
            Self::NoSuchAction(_) => "no_such_action",
            Self::NoSuchPlugin(_) => "no_such_plugin",
            Self::Expired { .. } => "expired",
            Self::UnreadReplies(_) => "unread_replies",
            Self::TimestampNoNumber(_) | Self::TimestampAhead { .. } => "timestamp",
            Self::Busy(_) => "busy",
            Self::Arguments(_) => "arguments",
            Self::AuthenticationNeeded => "authentication_needed",
            Self::InvalidExecutor | Self::InvalidCredentials => "invalid_credentials",
            Self::UserExists(_) => "user_exists",
            Self::InvalidUsername => "invalid_username",
            Self::UnusableName { .. } => "unusable_name",
            Self::EmptyPassword => "empty_password",
            Self::PasswordTooShort { .. } => "password_too_short",
            Self::CommonPassword => "common_password",
            Self::NoSuchUser(_) => "no_such_user",
            Self::Throttled(_) => "throttled",
            Self::MissingCode => "missing_otp_code",
            Self::InvalidCode | Self::WrongEnrolmentCode { .. } => "invalid_otp_code",
            Self::BadOtpSecret => "bad_otp_secret",
            Self::OtpEnabled(_) => "otp_enabled",
            Self::OtpNotEnabled(_) => "otp_not_enabled",
            Self::InvalidSession | Self::NoUserForSession => "invalid_session",
            Self::InvalidApiToken => "invalid_api_token",
            Self::ApiTokenExists(_) => "api_token_exists",
            Self::TooManyApiTokens { .. } => "too_many_api_tokens",
            Self::Store(_) => "not_stored",
            Self::Internal(_) => "failed",
        }
    }
}

impl From<NoRandomness> for Error {
    fn from(error: NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Maximum length of a client's text in an error, in characters.
const MAX_ECHO_CHARS: usize = 200;

/// Returns a client's text for an error, cut if it is too long.
#[must_use]
pub fn echo(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_ECHO_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
