//! Session tokens: 256 random bits from the operating system (OWASP ASVS 5.0, 7.2.3 requires 128).
//! The store keeps the SHA-256 only.

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::model::TokenHash;
use crate::random;

/// Generates a session token: 64 lower-case hexadecimal digits.
///
/// # Errors
/// When the operating system provides no randomness.
pub fn new_session_token() -> Result<SecretString, Error> {
    let bytes = random::secret(32)?;
    let token = Zeroizing::new(hex::encode(bytes.as_slice()));
    Ok(token.as_str().into())
}

/// Returns the hash under which the store keeps a session token or API token.
#[must_use]
pub fn token_hash(token: &SecretString) -> TokenHash {
    hash(token.expose_secret())
}

pub(super) fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}
