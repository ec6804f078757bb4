//! Users of somewhere else, as they can be brought here: what was found there,
//! and what could not be taken along. Who reads knows one foreign format; who
//! stores knows none.
//!
//! All of it can be written as JSON, because it crosses a socket on the same
//! machine. Second factors do so in clear; nothing here prints them.

mod left_behind;
pub mod platypush;
mod secret_text;

use serde::{Deserialize, Serialize};

pub use self::left_behind::{LeftBehind, Oddity, What, Why};
use crate::clock::Timestamp;
use crate::credentials::TotpSecret;
use crate::model::{PasswordRecord, TokenHash};

/// What was found in one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Who can come.
    pub newcomers: Vec<Newcomer>,
    /// Who and what cannot, and why.
    pub left_behind: Vec<LeftBehind>,
}

/// A user who can come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Whether it is the one that came before.
    pub origin: Origin,
    /// Its number where it comes from.
    pub source_id: i64,
    /// Not empty, of any length up to [`platypush::MAX_CELL_BYTES`].
    pub username: String,
    /// When it was created; the time of reading where nobody knows.
    pub created_at: Timestamp,
    /// As [`crate::credentials::imported`] checks it.
    #[serde(with = "secret_text::record")]
    pub password: PasswordRecord,
    /// Its second factor, where it is switched on.
    #[serde(with = "secret_text::totp")]
    pub totp_secret: Option<TotpSecret>,
    /// Codes that stand in for the second factor; none without one.
    pub backup_codes: Vec<ImportedCode>,
    /// Tokens for programs, no two of one name.
    pub api_tokens: Vec<ImportedToken>,
    /// Sessions that go on.
    pub sessions: Vec<ImportedSession>,
}

/// Fingerprint of a user where it comes from: reading it twice gives the same,
/// and it differs from that of any other user there or elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(pub [u8; 16]);

/// A backup code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedCode {
    /// Hash of the code as it was handed out.
    #[serde(with = "secret_text::record")]
    pub hash: PasswordRecord,
    /// From when on it is no longer good; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// An API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedToken {
    /// What the user calls it, not empty.
    pub name: String,
    /// Hash of the whole token, which is the user name, a colon and 32
    /// characters.
    #[serde(with = "secret_text::record")]
    pub hash: PasswordRecord,
    /// When it was made; the time of reading where nobody knows.
    pub created_at: Timestamp,
    /// From when on it is no longer good; `None` is never.
    pub expires_at: Option<Timestamp>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedSession {
    /// SHA-256 of its token, as of any session.
    #[serde(with = "secret_text::token")]
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
