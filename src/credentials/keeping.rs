//! Opens and reseals secrets that are moved between stores by import and export.

use zeroize::Zeroizing;

use super::{Credentials, TotpSecret};
use crate::error::Error;
use crate::model::{Sealed, SecondFactor, SecretFingerprint, UserId};

impl Credentials {
    /// Seals the secret of a user's second factor.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn seal_second_factor(&self, id: UserId, secret: &TotpSecret) -> Result<Sealed, Error> {
        self.vault.seal_totp(id, secret)
    }

    /// Opens the secret of a user's second factor.
    ///
    /// # Errors
    /// When the keys do not open it.
    pub fn open_second_factor(
        &self,
        id: UserId,
        factor: &SecondFactor,
    ) -> Result<TotpSecret, Error> {
        self.vault.open_totp(id, &factor.secret)
    }

    /// Returns the fingerprint of the secret of a user's second factor.
    #[must_use]
    pub fn secret_fingerprint(&self, id: UserId, secret: &TotpSecret) -> SecretFingerprint {
        self.vault.secret_fingerprint(id, secret)
    }

    /// Returns the key that hashes backup codes, in hexadecimal. The caller must seal it.
    #[must_use]
    pub fn hash_key(&self) -> Zeroizing<String> {
        self.vault.expose_hash_key()
    }

    /// Whether this store hashes backup codes with this key.
    #[must_use]
    pub fn has_hash_key(&self, key: &[u8; 32]) -> bool {
        self.vault.has_hash_key(key)
    }

    /// Seals a key that hashes backup codes.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn seal_hash_key(&self, key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.vault.seal_hash_key(key)
    }
}
