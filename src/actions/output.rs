//! Results of actions, which serialize as the `output` of a reply.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::clock::{Timestamp, iso, optional_iso};
use crate::credentials::TotpSecret;
use crate::error::Error;
use crate::model::{ApiToken, ApiTokenId, Profile, Reason, Session, TokenHash, User, UserId};

/// The result of an action.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Output {
    /// Yes or no.
    Flag(bool),
    /// Yes or no, with the reason for no: `[true, ""]`.
    Detailed(bool, Reason),
    /// A user.
    #[serde(serialize_with = "public")]
    User(Profile),
    /// Users.
    #[serde(serialize_with = "all_public")]
    Users(Vec<Profile>),
    /// A user, and whether it has a second factor.
    #[serde(serialize_with = "public_of_session")]
    UserOfSession(Profile),
    /// A new session, with its token.
    Session(NewSession),
    /// Setup data for an authenticator, and the backup codes.
    Enrolment(Enrolment),
    /// Backup codes.
    #[serde(serialize_with = "exposed_codes")]
    BackupCodes(Vec<SecretString>),
    /// Sessions of a user.
    Sessions(OwnSessions),
    /// A new API token.
    NewApiToken(NewApiToken),
    /// API tokens of a user.
    ApiTokens(Vec<PublicApiToken>),
    /// The output for wrong credentials, with an error beside it.
    Refused(Box<RefusedOutput>),
}

/// An output with an error beside it.
#[derive(Debug)]
pub struct RefusedOutput {
    output: Output,
    error: Error,
}

impl Serialize for RefusedOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.output.serialize(serializer)
    }
}

/// The public form of a user.
#[derive(Serialize)]
struct PublicUser<'a> {
    user_id: UserId,
    username: &'a str,
    #[serde(serialize_with = "iso")]
    created_at: Timestamp,
    /// Only for the holder of one of the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    has_2fa: Option<bool>,
}

impl<'a> From<&'a Profile> for PublicUser<'a> {
    fn from(user: &'a Profile) -> Self {
        Self {
            user_id: user.id,
            username: &user.username,
            created_at: user.created_at,
            has_2fa: None,
        }
    }
}

fn public<S: Serializer>(user: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    PublicUser::from(user).serialize(serializer)
}

fn all_public<S: Serializer>(users: &[Profile], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(users.iter().map(PublicUser::from))
}

fn public_of_session<S: Serializer>(user: &Profile, serializer: S) -> Result<S::Ok, S::Error> {
    let public = PublicUser {
        has_2fa: Some(user.has_second_factor),
        ..user.into()
    };
    public.serialize(serializer)
}

/// A new second factor with its secrets, as its user gets it once.
#[derive(Clone, Serialize)]
pub struct Enrolment {
    pub(super) username: String,
    #[serde(serialize_with = "exposed_secret")]
    pub(super) otp_secret: TotpSecret,
    pub(super) otp_uri: Zeroizing<String>,
    pub(super) qrcode: Option<Zeroizing<String>>,
    #[serde(serialize_with = "exposed_codes")]
    pub(super) backup_codes: Vec<SecretString>,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment(…)")
    }
}

/// Sessions of a user, one of which is the current one. Their public form is made during
/// serialization, because there may be many.
#[derive(Debug)]
pub struct OwnSessions {
    pub(super) sessions: Vec<Session>,
    pub(super) current: TokenHash,
}

impl Serialize for OwnSessions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.sessions.iter().map(|session| PublicSession {
            session_id: session.id(),
            created_at: session.created_at,
            expires_at: session.expires_at,
            current: session.token == self.current,
        }))
    }
}

/// The public form of a session, for its user.
#[derive(Serialize)]
struct PublicSession {
    session_id: String,
    #[serde(serialize_with = "iso")]
    created_at: Timestamp,
    #[serde(serialize_with = "optional_iso")]
    expires_at: Option<Timestamp>,
    current: bool,
}

/// A new session with its token, as the client gets it once.
#[derive(Debug, Serialize)]
pub struct NewSession {
    #[serde(serialize_with = "exposed")]
    session_token: SecretString,
    user_id: UserId,
    username: String,
    #[serde(serialize_with = "iso")]
    created_at: Timestamp,
    #[serde(serialize_with = "optional_iso")]
    expires_at: Option<Timestamp>,
}

/// The public form of an API token, for its user.
#[derive(Debug, Serialize)]
pub struct PublicApiToken {
    id: ApiTokenId,
    name: String,
    #[serde(serialize_with = "iso")]
    created_at: Timestamp,
    #[serde(serialize_with = "optional_iso")]
    expires_at: Option<Timestamp>,
}

/// A new API token, as the client gets it once.
#[derive(Debug, Serialize)]
pub struct NewApiToken {
    id: ApiTokenId,
    name: String,
    #[serde(serialize_with = "exposed")]
    token: SecretString,
    #[serde(serialize_with = "optional_iso")]
    expires_at: Option<Timestamp>,
}

impl Output {
    /// Returns a list of API tokens, without the tokens themselves.
    pub(super) fn api_tokens<'t>(tokens: impl Iterator<Item = &'t ApiToken>) -> Self {
        let public = |token: &ApiToken| PublicApiToken {
            id: token.id,
            name: token.name.clone(),
            created_at: token.created_at,
            expires_at: token.expires_at,
        };
        Self::ApiTokens(tokens.map(public).collect())
    }

    /// Returns a new API token.
    pub(super) fn new_api_token(token: SecretString, created: &ApiToken) -> Self {
        Self::NewApiToken(NewApiToken {
            id: created.id,
            name: created.name.clone(),
            token,
            expires_at: created.expires_at,
        })
    }

    /// Returns the output for a login that was refused without a check: the output for wrong
    /// credentials, with `error` beside it.
    pub(super) fn refused(output: Self, error: Error) -> Self {
        Self::Refused(Box::new(RefusedOutput { output, error }))
    }

    /// Returns the error beside the output, if there is one.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Refused(refused) => Some(&refused.error),
            _ => None,
        }
    }

    /// Returns a new session.
    pub(super) fn session(session_token: SecretString, session: &Session, user: &User) -> Self {
        Self::Session(NewSession {
            session_token,
            user_id: user.id,
            username: user.username.clone(),
            created_at: session.created_at,
            expires_at: session.expires_at,
        })
    }
}

fn exposed_secret<S: Serializer>(secret: &TotpSecret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&secret.to_base32())
}

fn exposed_codes<S: Serializer>(codes: &[SecretString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(codes.iter().map(SecretString::expose_secret))
}

fn exposed<S: Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}
