//! Reads the users of a Platypush node from `main.db` (SQLite) and `otp/key` in its working
//! directory.
//!
//! Password hashes are imported unchanged ([`crate::credentials::imported`]), so users keep their
//! passwords. The node's JSON web tokens cannot be imported: they contain the password, and the
//! node does not store them.

mod assemble;
mod database;
mod error;
mod otp_key;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use self::assemble::Tables;
pub use self::assemble::{MAX_BACKUP_CODES, MAX_BCRYPT_TOKENS, MAX_TOKENS};
use self::database::Database;
pub use self::database::MAX_CELL_BYTES;
pub use self::error::ReadError;
use self::otp_key::OtpKey;
use crate::clock::Timestamp;
use crate::transfer::{ImportedUser, Skipped};

/// Paths of a node's database and key.
#[derive(Debug, Clone)]
pub struct NodePaths {
    /// The folder that contains `main.db`.
    pub workdir: PathBuf,
    /// The key of the second factors, if it is not `otp/key` in `workdir`.
    pub otp_key: Option<PathBuf>,
}

/// Users and other records of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeContents {
    /// Users that can be imported. Their ids and those of their API tokens are 0: the import
    /// assigns them.
    pub users: Vec<ImportedUser>,
    /// Records that cannot be imported.
    pub skipped: Vec<Skipped>,
}

/// Progress of reading a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadProgress {
    /// Number of users that were read.
    pub done: usize,
    /// Number of all users.
    pub total: usize,
}

/// Reads the users of a node, running or not, without changing any file of it.
///
/// Records that have expired at `now` are skipped; `now` also replaces missing times of creation.
/// The key is read only if a user has a second factor.
///
/// # Errors
/// When the database cannot be read, or the key decrypts no second factor. Unusable rows are not
/// an error: the result lists them.
pub fn read(
    node: &NodePaths,
    now: Timestamp,
    progress: &mut dyn FnMut(ReadProgress),
) -> Result<NodeContents, ReadError> {
    let tables = Tables::read(Database::open(&node.workdir)?)?;
    let key = node
        .otp_key
        .clone()
        .unwrap_or_else(|| node.workdir.join("otp").join("key"));
    assemble::assemble(&tables, OtpKey::at(key), now, progress)
}
