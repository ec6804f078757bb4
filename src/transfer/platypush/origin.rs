//! Fingerprint of a user's row, by which a later import recognizes the user.
//!
//! Id and name are not enough: on another node they may belong to another user.

use sha2::{Digest as _, Sha256};

use super::rows::Row;
use crate::model::Origin;
use crate::transfer::SkipReason;

/// Prefix of the hashed data, so that no hash for another purpose is equal.
const PURPOSE: &[u8] = b"platypush user 1";

/// Returns the fingerprint of a user: SHA-256, truncated to 16 bytes, of its id, name, unparsed
/// time of creation and salt.
///
/// The salt is random and does not change with the password. A user without a salt has a bcrypt
/// hash, which includes one: the whole hash is used, so that such a user is not recognized after
/// a change of its password.
pub(super) fn fingerprint(user: &Row) -> Result<Origin, SkipReason> {
    let salt = match user.text("password_salt")? {
        Some(salt) => Some(salt),
        None => user.text("password")?,
    };
    let mut digest = Sha256::new();
    digest.update(PURPOSE);
    digest.update(user.user_id()?.to_be_bytes());
    for part in [user.text("username")?, user.text("created_at")?, salt] {
        // The length precedes each part. A missing part has a length that no text has.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(part.unwrap_or_default());
    }
    let mut origin = [0; 16];
    origin.copy_from_slice(&digest.finalize()[..16]);
    Ok(Origin(origin))
}
