//! How a user is known again, whose number and name may mean somebody else on
//! another node.

use sha2::{Digest as _, Sha256};

use super::rows::Row;
use crate::model::Origin;
use crate::transfer::Why;

/// What the fingerprint begins with, so that it is no hash of anything else.
const PURPOSE: &[u8] = b"platypush user 1";

/// SHA-256, cut to 16 bytes, of number, name, date of creation as it stands and
/// salt. The salt is random, and stays when the password changes; a user without
/// one has the salt of bcrypt in its hash, and is somebody else once it has set
/// a new password.
pub(super) fn of(user: &Row) -> Result<Origin, Why> {
    let salt = match user.text("password_salt")? {
        Some(salt) => Some(salt),
        None => user.text("password")?,
    };
    let mut digest = Sha256::new();
    digest.update(PURPOSE);
    digest.update(user.user_id()?.to_be_bytes());
    for part in [user.text("username")?, user.text("created_at")?, salt] {
        // Its length before each, and one that no text has where there is none.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        digest.update(length.to_be_bytes());
        digest.update(part.unwrap_or_default());
    }
    let mut origin = [0; 16];
    origin.copy_from_slice(&digest.finalize()[..16]);
    Ok(Origin(origin))
}
