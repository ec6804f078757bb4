//! Sealing and keyed hashing for the credentials.
//!
//! The keyed hash has a random key of its own, which the store keeps sealed. A rotation of the
//! sealing keys reseals it and never changes it.

use std::array;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::second_factor::TotpSecret;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::model::{NameHash, Sealed, SecretFingerprint, UserId};
use crate::random::{self, NoRandomness};

/// Seals secrets, and hashes with a key.
pub struct Vault {
    keyring: Arc<Keyring>,
    hash_key: Zeroizing<Vec<u8>>,
}

impl Vault {
    /// Context that the key of the keyed hash is sealed under.
    pub const HASH_KEY_CONTEXT: &[u8] = b"hash key";

    /// Generates a key for the keyed hash and returns it sealed, for the store.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn new_hash_key(keyring: &Keyring) -> Result<Vec<u8>, NoRandomness> {
        let key = random::secret(32)?;
        Ok(keyring
            .sealer()?
            .seal(Self::HASH_KEY_CONTEXT, key.as_slice()))
    }

    /// Seals a key of the keyed hash that was imported.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn seal_hash_key(&self, key: &[u8; 32]) -> Result<Vec<u8>, Error> {
        Ok(self.keyring.sealer()?.seal(Self::HASH_KEY_CONTEXT, key))
    }

    /// Returns the key of the keyed hash in hexadecimal. The caller must seal it.
    #[must_use]
    pub fn expose_hash_key(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.hash_key.as_slice()))
    }

    /// Whether `key` is the key of the keyed hash.
    #[must_use]
    pub fn has_hash_key(&self, key: &[u8; 32]) -> bool {
        self.hash_key.as_slice().ct_eq(key).into()
    }

    /// Creates a vault with the sealed key of the keyed hash. Returns `None` if the keyring does
    /// not open it, because it was sealed with another keyring.
    #[must_use]
    pub fn open(keyring: Arc<Keyring>, sealed_hash_key: &[u8]) -> Option<Self> {
        let hash_key = keyring.open_sealed(Self::HASH_KEY_CONTEXT, sealed_hash_key)?;
        Some(Self { keyring, hash_key })
    }

    /// Returns the context that the secret of a second factor is sealed under. It contains the user
    /// id, so that the secret does not open for another user.
    #[must_use]
    pub fn totp_context(user_id: UserId) -> Vec<u8> {
        [b"totp secret:", &user_id.to_be_bytes()[..]].concat()
    }

    /// Seals the secret of a user's second factor.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn seal_totp(&self, user_id: UserId, secret: &TotpSecret) -> Result<Sealed, Error> {
        let sealer = self.keyring.sealer()?;
        Ok(Sealed(
            sealer.seal(&Self::totp_context(user_id), secret.expose()),
        ))
    }

    /// Opens the secret of a user's second factor.
    ///
    /// # Errors
    /// When the keys do not open it.
    pub fn open_totp(&self, user_id: UserId, sealed: &Sealed) -> Result<TotpSecret, Error> {
        let bytes = self
            .keyring
            .open_sealed(&Self::totp_context(user_id), &sealed.0)
            .ok_or_else(|| Error::Internal("a second factor does not open".into()))?;
        Ok(TotpSecret::new(bytes.to_vec()))
    }

    /// Returns the hash that the store keeps for the name of no user.
    pub(super) fn name_hash(&self, username: &str) -> NameHash {
        NameHash(self.keyed_hash(b"user name", 0, username.as_bytes()))
    }

    /// Returns the fingerprint that the store keeps of a second factor's secret, also after the
    /// factor is removed.
    #[must_use]
    pub fn secret_fingerprint(&self, user_id: UserId, secret: &TotpSecret) -> SecretFingerprint {
        SecretFingerprint(self.keyed_hash(b"totp secret", user_id, secret.expose()))
    }

    /// Computes the first `N` bytes, at most 32, of an HMAC-SHA-256. No `purpose` is a prefix of
    /// another one, so the parts cannot be confused.
    pub(super) fn keyed_hash<const N: usize>(
        &self,
        purpose: &[u8],
        user_id: UserId,
        data: &[u8],
    ) -> [u8; N] {
        const { assert!(N <= 32, "SHA-256 has 32 bytes") };
        // Cannot fail: HMAC accepts keys of any length, and this one has 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.hash_key) else {
            return [0; N];
        };
        mac.update(purpose);
        mac.update(&user_id.to_be_bytes());
        mac.update(data);
        let hash = mac.finalize().into_bytes();
        array::from_fn(|index| hash[index])
    }
}
