//! Records that an import skips, with the reasons that the operator reads.

use std::fmt;

use crate::clock::{Iso, Timestamp};
use crate::credentials::imported::UnusableHash;

/// A record that is not imported. Contains no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Kind of the record.
    pub kind: RecordKind,
    /// Location of the record in its source.
    pub location: Location,
    /// Name of the user or API token, if the record has one.
    pub name: Option<String>,
    /// Name of the user that the record belongs to. `None` for a user, and if there is no such
    /// user.
    pub owner: Option<String>,
    /// Why the record is skipped.
    pub reason: SkipReason,
}

/// Location of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// Row of a table.
    Row(i64),
    /// Line of an export.
    Line(usize),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(number) => write!(f, "row {number}"),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}

/// Kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A user, with its second factor, backup codes, API tokens and sessions.
    User,
    /// A second factor without a user. That of a user is never skipped alone.
    SecondFactor,
    /// A backup code.
    BackupCode,
    /// An API token.
    ApiToken,
    /// A session.
    Session,
}

/// Why a record is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The user does not exist. Platypush keeps second factors, codes and tokens of a user that it
    /// deletes.
    #[error("its user, number {0}, does not exist")]
    Orphaned(i64),
    /// The user has no password and cannot log in.
    #[error("it has no password")]
    NoPassword,
    /// The hash is malformed, or it costs too much to check.
    #[error("{0}")]
    Hash(UnusableHash),
    /// The hash is PBKDF2, which needs both salt and iterations.
    #[error("its hash is PBKDF2, but its user has no salt or no iterations")]
    NoSalt,
    /// A required column is missing or empty.
    #[error("its {0} is missing or empty")]
    Missing(String),
    /// The value of a cell has the wrong type. SQLite allows any value in any column.
    #[error("its {column} {error}")]
    InvalidCell {
        /// Name of the column.
        column: String,
        /// What is wrong with the value.
        error: CellError,
    },
    /// The text is not a date in Platypush's format.
    #[error("its {0} is not a date")]
    NotADate(String),
    /// The date is outside the years that replies can contain.
    #[error("its {0} is outside the years 1 to 9999")]
    YearOutOfRange(String),
    /// With this long user name, bcrypt did not read all random bytes of the token, so that the
    /// unread ones need not be guessed.
    #[error(
        "bcrypt hashes only the first 72 bytes of a token: with this long user name it did not \
         hash all of the token's secret, so a token with any other ending would be accepted; \
         create a new one (create_api_token)"
    )]
    CutToken,
    /// The record has expired.
    #[error("it expired at {at}", at = Iso(*.0))]
    Expired(Timestamp),
    /// Another record has the same id, name or hash.
    #[error("another one has the same {0}")]
    Duplicate(String),
    /// The user has more of these records than a node creates. The newest ones are imported.
    #[error("its user has too many of them: only the newest {0} are imported")]
    TooMany(usize),
    /// The backup code belongs to a user without a second factor.
    #[error("its user has no second factor")]
    NoSecondFactor,
    /// The key decrypts other secrets of the node, but not this one.
    #[error(
        "the node's key does not decrypt its second factor, without which a user is not imported"
    )]
    Undecryptable,
    /// The secret is shorter than RFC 4226 allows (section 4, R6), or longer than the block of
    /// HMAC-SHA-1.
    #[error(
        "the secret of its second factor, without which a user is not imported, does not have 128 \
         to 512 bits"
    )]
    SecretLength,
}

/// Why the value of a cell cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// An integer in a text column.
    #[error("is an integer")]
    Integer,
    /// Text in an integer column.
    #[error("is text")]
    Text,
    /// A floating-point number.
    #[error("is a floating-point number")]
    Real,
    /// A blob.
    #[error("is a blob")]
    Blob,
    /// Text that is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Text longer than any that Platypush writes.
    #[error("is longer than {} bytes", super::platypush::MAX_CELL_BYTES)]
    TooLong,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::SecondFactor => "second factor",
            Self::BackupCode => "backup code",
            Self::ApiToken => "API token",
            Self::Session => "session",
        })
    }
}

/// `API token "browser" of user "alice" (row 7): it expired at …`. Names are escaped, because they
/// may contain control characters.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(owner) = &self.owner {
            write!(f, " of user {owner:?}")?;
        }
        write!(f, " ({}): {}", self.location, self.reason)
    }
}
