//! Session tokens: 256 random bits from the operating system (OWASP ASVS 5.0, 7.2.3 requires 128).
//! The store keeps the SHA-256 only.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::model::TokenHash;
use crate::random;

/// A new session token: 64 lower-case hexadecimal digits. `Debug` does not print it; only the reply
/// to its user exposes it.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

impl SessionToken {
    /// Generates a token.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        random::fill(bytes.as_mut_slice())?;
        Ok(Self(Zeroizing::new(hex::encode(bytes.as_slice()))))
    }

    /// Returns the hash that the store keeps.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        hash(&self.0)
    }

    /// Returns the token itself, for the reply.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

pub(super) fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}
