//! What could not be taken along, in words for whoever imports.

use std::fmt;

use crate::clock::{Iso, Timestamp};
use crate::credentials::imported::UnusableHash;

/// Something that stays where it is. It shows nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// What it is.
    pub what: What,
    /// Where it stands.
    pub location: Location,
    /// What it is called, where it has a name: that of a user or API token.
    pub name: Option<String>,
    /// The name of its user, where it is not a user itself and has one.
    pub whose: Option<String>,
    /// Why.
    pub why: Why,
}

/// Where something stands that is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// A row of a table.
    Row(i64),
    /// A line of an export.
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

/// What can be left behind. A user is with all that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// A user, its second factor, codes, tokens and sessions.
    User,
    /// A second factor of nobody: that of a user is never left behind alone.
    SecondFactor,
    /// A backup code.
    BackupCode,
    /// An API token.
    ApiToken,
    /// A session.
    Session,
}

/// Why something is left behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Platypush leaves second factor, codes and tokens of a deleted user.
    #[error("its user, number {0}, does not exist")]
    Orphaned(i64),
    /// A user without a password cannot log in.
    #[error("it has no password")]
    NoPassword,
    /// A hash that nothing can be checked against, or that costs too much.
    #[error("{0}")]
    Hash(UnusableHash),
    /// PBKDF2 needs both.
    #[error("its hash is PBKDF2's, and its user has no salt or no iterations")]
    NoSalt,
    /// Where something is due.
    #[error("its {0} is missing or empty")]
    Missing(String),
    /// SQLite keeps anything in any column.
    #[error("its {column} {oddity}")]
    Odd {
        /// The column.
        column: String,
        /// What stands there.
        oddity: Oddity,
    },
    /// No date as Platypush writes it.
    #[error("its {0} is no date")]
    NoDate(String),
    /// A date that no reply can write.
    #[error("its {0} lies outside the years 1 to 9999")]
    Year(String),
    /// What bcrypt does not read of a token needs no guessing.
    #[error(
        "its hash is bcrypt's, which reads 72 bytes: with so long a user name it has not read all \
         of what is secret in the token, and would take any other ending for it; make a new one \
         (create_api_token)"
    )]
    CutToken,
    /// Its time is over.
    #[error("it expired at {at}", at = Iso(*.0))]
    Expired(Timestamp),
    /// There is another with the same number, name or hash.
    #[error("there is another one with the same {0}")]
    Duplicate(String),
    /// More than a node makes; those that were made last are taken.
    #[error("its user has more of them than the {0} that are taken")]
    TooMany(usize),
    /// A backup code stands in for what is not there.
    #[error("its user has no second factor")]
    NoSecondFactor,
    /// It is no base32 when opened, while the key opens others.
    #[error("the node's key does not open its second factor; without it, it must not come")]
    Unopened,
    /// Weaker than RFC 4226 allows (section 4, R6), or longer than HMAC-SHA-1
    /// makes use of.
    #[error(
        "the secret of its second factor does not have 128 to 512 bits; without it, it must not come"
    )]
    SecretLength,
}

/// What stands where something else is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// An integer where text is due.
    #[error("is an integer")]
    Integer,
    /// Text where an integer is due.
    #[error("is text")]
    Text,
    /// A floating-point number.
    #[error("is a floating-point number")]
    Real,
    /// Bytes.
    #[error("is a blob")]
    Blob,
    /// Text in another encoding.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Longer than anything that Platypush writes.
    #[error("is longer than {} bytes", super::platypush::MAX_CELL_BYTES)]
    TooLong,
}

impl fmt::Display for What {
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

/// `API token "browser" of user "alice" (row 7): it expired at …`. Names are
/// escaped: they may hold anything.
impl fmt::Display for LeftBehind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(whose) = &self.whose {
            write!(f, " of user {whose:?}")?;
        }
        write!(f, " ({}): {}", self.location, self.why)
    }
}
