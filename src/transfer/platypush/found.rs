//! What was found at a node.

use crate::clock::Timestamp;
use crate::credentials::TotpSecret;
use crate::model::{
    ApiToken, ApiTokenRecord, ImportedCode, Origin, PasswordRecord, Sealed, SecondFactor,
    SecretFingerprint, Session, TokenHash, User,
};
use crate::transfer::{LeftBehind, Person};

/// What was found in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Who can come.
    pub newcomers: Vec<Newcomer>,
    /// Who and what cannot, and why.
    pub left_behind: Vec<LeftBehind>,
}

/// A user who can come.
#[derive(Debug, Clone, PartialEq)]
pub struct Newcomer {
    /// Whether it is the one that came before.
    pub origin: Origin,
    /// Its number where it comes from.
    pub source_id: i64,
    /// Not empty, of any length up to [`super::MAX_CELL_BYTES`].
    pub username: String,
    /// When it was created; the time of reading where nobody knows.
    pub created_at: Timestamp,
    /// As [`crate::credentials::imported`] checks it.
    pub password: PasswordRecord,
    /// Its second factor, where it is switched on.
    pub totp_secret: Option<TotpSecret>,
    /// Codes that stand in for the second factor; none without one.
    pub backup_codes: Vec<ImportedCode>,
    /// Tokens for programs, no two of one name.
    pub api_tokens: Vec<ImportedToken>,
    /// Sessions that go on.
    pub sessions: Vec<ImportedSession>,
}

/// An API token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedToken {
    /// What the user calls it, not empty.
    pub name: String,
    /// Hash of the whole token, which is the user name, a colon and 32
    /// characters.
    pub record: PasswordRecord,
    /// When it was made; the time of reading where nobody knows.
    pub created_at: Timestamp,
    /// From when on it is no longer good; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedSession {
    /// SHA-256 of its token, as of any session.
    pub token: TokenHash,
    /// When it was made; the time of reading where nobody knows.
    pub created_at: Timestamp,
    /// From when on it is no longer good; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// How far reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Users that are read.
    pub done: usize,
    /// Of so many.
    pub total: usize,
}

impl From<Newcomer> for Person {
    /// Numbers are given when it is let in.
    fn from(newcomer: Newcomer) -> Self {
        let second_factor = newcomer.totp_secret.as_ref().map(|_| SecondFactor {
            // It is sealed when it is let in.
            secret: Sealed(Vec::new()),
            fingerprint: SecretFingerprint::UNKNOWN,
            last_step: 0,
            backup_codes: Vec::new(),
            imported_codes: newcomer.backup_codes,
        });
        let token = |token: ImportedToken| ApiToken {
            id: 0,
            name: token.name,
            created_at: token.created_at,
            expires_at: token.expires_at,
            record: ApiTokenRecord::Imported(token.record),
        };
        let mut user = User::new(0, newcomer.username, newcomer.created_at, newcomer.password);
        user.second_factor = second_factor;
        user.api_tokens = newcomer.api_tokens.into_iter().map(token).collect();
        user.origin = Some(newcomer.origin);
        let session = |session: ImportedSession| Session {
            token: session.token,
            user_id: user.id,
            generation: user.generation,
            created_at: session.created_at,
            expires_at: session.expires_at,
            used_at: session.created_at,
        };
        Self {
            sessions: newcomer.sessions.into_iter().map(session).collect(),
            totp_secret: newcomer.totp_secret,
            user,
        }
    }
}
