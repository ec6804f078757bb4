//! Sealing and keyed hashing for the credentials.
//!
//! The keyed hash has a random key of its own, which the store keeps sealed. A rotation of the
//! sealing keys reseals it and never changes it.

use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::second_factor::{TotpSecret, keyed_hash};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::{NameHash, Sealed, SecretFingerprint, UserId};
use crate::random;

/// Context that the key of the keyed hash is sealed under.
const HASH_KEY: &[u8] = b"hash key";

/// Seals secrets, and hashes with a key.
pub struct Vault {
    keyring: Arc<Keyring>,
    hash_key: Zeroizing<Vec<u8>>,
}

impl Vault {
    /// Generates a key for the keyed hash and returns it sealed, for the store.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn new_hash_key(keyring: &Keyring) -> std::io::Result<Vec<u8>> {
        let mut key = Zeroizing::new([0; 32]);
        random::fill(key.as_mut_slice())?;
        Ok(keyring.sealer()?.seal(HASH_KEY, key.as_slice()))
    }

    /// Seals a key of the keyed hash that was imported.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub(super) fn seal_hash_key(&self, key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        let sealer = self
            .keyring
            .sealer()
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(sealer.seal(HASH_KEY, key))
    }

    /// Returns the key of the keyed hash in hexadecimal. The caller must seal it.
    pub(super) fn expose_hash_key(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.hash_key.as_slice()))
    }

    /// Whether `key` is the key of the keyed hash.
    pub(super) fn has_hash_key(&self, key: &[u8; 32]) -> bool {
        self.hash_key.as_slice().ct_eq(key).into()
    }

    /// Creates a vault with the sealed key of the keyed hash. Returns `None` if the keyring does
    /// not open it, because it was sealed with another keyring.
    #[must_use]
    pub fn open(keyring: Arc<Keyring>, sealed_hash_key: &[u8]) -> Option<Self> {
        let hash_key = keyring.open_sealed(HASH_KEY, sealed_hash_key)?;
        Some(Self { keyring, hash_key })
    }

    /// Returns the context that the key of the keyed hash is sealed under.
    #[must_use]
    pub fn hash_key_context() -> Vec<u8> {
        HASH_KEY.into()
    }

    /// Returns the context that the secret of a second factor is sealed under. It contains the user
    /// id, so that the secret does not open for another user.
    #[must_use]
    pub fn totp_context(user_id: UserId) -> Vec<u8> {
        [b"totp secret:", &user_id.to_be_bytes()[..]].concat()
    }

    pub(super) fn seal_totp(&self, user_id: UserId, secret: &TotpSecret) -> Result<Sealed, Error> {
        let sealer = self
            .keyring
            .sealer()
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Sealed(
            sealer.seal(&Self::totp_context(user_id), secret.expose()),
        ))
    }

    pub(super) fn open_totp(&self, user_id: UserId, sealed: &Sealed) -> Result<TotpSecret, Error> {
        let bytes = self
            .keyring
            .open_sealed(&Self::totp_context(user_id), &sealed.0)
            .ok_or_else(|| Error::Internal("a second factor does not open".into()))?;
        Ok(TotpSecret::new(bytes.to_vec()))
    }

    /// Returns the hash that the store keeps for the name of no user.
    pub(super) fn name_hash(&self, username: &str) -> NameHash {
        let hash = self.keyed_hash(b"user name", 0, username.as_bytes());
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        NameHash(short)
    }

    /// Returns the fingerprint that the store keeps of a second factor's secret, also after the
    /// factor is removed.
    pub(super) fn secret_fingerprint(
        &self,
        user_id: UserId,
        secret: &TotpSecret,
    ) -> SecretFingerprint {
        let hash = self.keyed_hash(b"totp secret", user_id, secret.expose());
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        SecretFingerprint(short)
    }

    pub(super) fn keyed_hash(&self, purpose: &[u8], user_id: UserId, data: &[u8]) -> [u8; 32] {
        keyed_hash(&self.hash_key, purpose, user_id, data)
    }
}
