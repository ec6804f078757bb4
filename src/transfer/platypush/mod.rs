//! A Platypush node: `main.db` (SQLite) and `otp/key` in its working directory.
//!
//! Nobody has to set a new password: the hashes are taken along as they are
//! ([`crate::credentials::imported`]). What Platypush calls a JWT is no row but
//! holds the password itself; there is nothing to take along.

mod assemble;
mod database;
mod error;
mod found;
mod origin;
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
pub use self::found::{Found, ImportedSession, ImportedToken, Newcomer, Progress};
use self::otp_key::OtpKey;
use crate::clock::Timestamp;

/// Where a node keeps its users.
#[derive(Debug, Clone)]
pub struct Source {
    /// The folder that holds `main.db`.
    pub workdir: PathBuf,
    /// The key of its second factors, where it is not `otp/key` in there.
    pub otp_key: Option<PathBuf>,
}

/// Reads the users of a node, running or not, and changes nothing there.
///
/// `now` decides what has expired, and stands for dates that nobody knows. The
/// key is read only where a user has a second factor.
///
/// # Errors
/// When nothing can be read, or the second factors cannot be opened. A row that
/// cannot be used is no error: it is left behind, and said so.
pub fn read(
    source: &Source,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<Found, ReadError> {
    let tables = Tables::read(Database::open(&source.workdir)?)?;
    let key = source
        .otp_key
        .clone()
        .unwrap_or_else(|| source.workdir.join("otp").join("key"));
    assemble::found(&tables, OtpKey::at(key), now, progress)
}
