//! The one error of actions: what happened, in the words of the contract. No
//! transport in it; the edge turns it into a reply as the last step.

use crate::random::NoRandomness;
use crate::store::StoreError;
use crate::text::Unusable;

/// Why an action failed. `Display` is the text that the caller gets, except
/// for [`Error::Internal`], whose text is for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not from somebody who knows the token.
    #[error("Unauthorized")]
    Unauthorized,
    /// For somebody else, and the configuration says to mind it.
    #[error("This request is for {target}, not for {device_id} (accept_any_target is off)")]
    ForeignTarget {
        /// For whom it is.
        target: String,
        /// Who we are.
        device_id: String,
    },
    /// No action named.
    #[error("No action specified in the request")]
    NoAction,
    /// An action that this plugin does not have.
    #[error("No such action: {0}")]
    NoSuchAction(String),
    /// A plugin that is not served here.
    #[error("No such plugin: {0}")]
    NoSuchPlugin(String),
    /// Too old to be run: whoever sent it has given up.
    #[error(
        "The request has expired: it was {from} and would have started at {now}, more than {max_age} s later (max_request_age); check the clocks if that is wrong"
    )]
    Expired {
        /// When it says it was sent or, if it does not say, when it was taken,
        /// ISO 8601 in UTC.
        from: String,
        /// When it would have started, ISO 8601 in UTC.
        now: String,
        /// Seconds.
        max_age: u64,
    },
    /// A long reply, while too many bytes of them lie unread in Redis; seconds
    /// until the oldest ones have expired.
    #[error("Too many long replies have not been read: read them, or retry in {0} s")]
    UnreadReplies(u64),
    /// A time of sending that is none.
    #[error(
        "_timestamp must be a number, the seconds since the epoch at which the request was sent, not {0}; without it the age of a request counts from when it is taken"
    )]
    TimestampNoNumber(&'static str),
    /// A time of sending that cannot be true.
    #[error(
        "_timestamp must be in seconds since the epoch: it stands for {sent}, more than a year after {now}. Milliseconds must be divided by 1,000"
    )]
    TimestampAhead {
        /// What it stands for, ISO 8601 in UTC.
        sent: String,
        /// Our time, ISO 8601 in UTC.
        now: String,
    },
    /// Refused because its turn would come too late.
    #[error("Too busy, retry in {0} s")]
    Busy(u64),
    /// The arguments do not fit the signature.
    #[error("{0}")]
    Arguments(String),
    /// Users exist, so creating one needs somebody who is one.
    #[error("You need to authenticate in order to create another user")]
    AuthenticationNeeded,
    /// Neither the executing user's password nor the session token is good.
    #[error("Invalid credentials and/or session_token")]
    InvalidExecutor,
    /// The name is taken.
    #[error("The user {0} already exists")]
    UserExists(String),
    /// A name that cannot be one.
    #[error("Invalid or empty username")]
    InvalidUsername,
    /// A name that no user or API token may get.
    #[error("The {what} contains {unusable}: choose another one")]
    UnusableName {
        /// Whose name.
        what: &'static str,
        /// What is wrong with it.
        unusable: Unusable,
    },
    /// No password, or an empty one.
    #[error("Please provide a password for the user")]
    EmptyPassword,
    /// Shorter than the configuration allows.
    #[error(
        "The password is too short: at least {min} characters are needed (password.min_length)"
    )]
    PasswordTooShort {
        /// In characters.
        min: usize,
    },
    /// On the list of those that are not taken.
    #[error(
        "The password is on a list of common or leaked passwords: choose another (password.blocklist_file)"
    )]
    CommonPassword,
    /// Nobody of that name.
    #[error("No such user: {0}")]
    NoSuchUser(String),
    /// Not even tried.
    #[error("Too many failed attempts, retry in {0} s")]
    Throttled(u64),
    /// Unknown user or wrong password.
    #[error("Invalid credentials")]
    InvalidCredentials,
    /// The password is right, but a one-time code is needed.
    #[error("missing_otp_code")]
    MissingCode,
    /// The password is right, the one-time code is not.
    #[error("invalid_otp_code")]
    InvalidCode,
    /// The password is right, but the code is not one of the secret that is to
    /// be enrolled. The time is no secret: every reply has it (`_timestamp`).
    #[error(
        "invalid_otp_code: this is no code of the otp_secret at {now} UTC, which is the time of the server; if the clock of the server or of the authenticator is wrong, set it"
    )]
    WrongEnrolmentCode {
        /// When it was checked, ISO 8601 in UTC.
        now: String,
    },
    /// No usable secret for an authenticator.
    #[error(
        "otp_secret must be base32 of 128 to 512 bits (26 to 103 characters): call enable_otp with dry_run to get one"
    )]
    BadOtpSecret,
    /// Switched on already.
    #[error("2FA is already enabled for {0}: disable it first")]
    OtpEnabled(String),
    /// Not switched on.
    #[error("2FA is not enabled for {0}")]
    OtpNotEnabled(String),
    /// Unknown, expired or deleted session.
    #[error("Invalid session token")]
    InvalidSession,
    /// The same, in the words of `get_user_by_session`.
    #[error("No user associated with the specified session token")]
    NoUserForSession,
    /// Unknown, expired or deleted API token.
    #[error("Invalid API token")]
    InvalidApiToken,
    /// A user's API tokens have different names.
    #[error("An API token named {0} already exists")]
    ApiTokenExists(String),
    /// As many as one user may have.
    #[error("{username} has {limit} API tokens, no more can be made: delete some")]
    TooManyApiTokens {
        /// Whose.
        username: String,
        /// How many there may be.
        limit: usize,
    },
    /// The store refused or failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A defect of ours; the text is for the log.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A short name of what happened, for the log: it repeats nothing.
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

/// Longest text of a caller that is repeated in an error, in characters.
const LONGEST_ECHO: usize = 200;

/// A caller's text as an error repeats it: whole, unless it is absurdly long.
#[must_use]
pub fn echo(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_ECHO).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
