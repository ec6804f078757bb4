//! The RSA key by which a node encrypts the second factors of its users.
//!
//! The node stores base64 of RSA (PKCS#1 v1.5) of the secret in base32
//! (`platypush/user/__init__.py`, `_encrypt`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::engine::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs1::der::{Decode as _, SecretDocument};
use rsa::pkcs1::{RsaPrivateKeyRef, UintRef};
use rsa::{BoxedUint, PrivateKey};
use zeroize::Zeroizing;

use super::error::ReadError;
use crate::credentials::TotpSecret;
use crate::transfer::SkipReason;

/// Maximum number of bytes that are read of the key file. A key of 8192 bits has about 6 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// Minimum length of a plaintext that proves the right key. The plaintext of a wrong key looks like
/// base32 of this length once in millions of times.
const MIN_TEXT_BYTES: usize = 8;

/// The key, which is read at its first use.
pub(super) struct OtpKey {
    path: PathBuf,
    key: Option<PrivateKey>,
    /// Number of second factors that the key decrypted.
    decrypted: usize,
    /// Number of second factors that the key did not decrypt.
    failed: usize,
}

impl OtpKey {
    pub(super) const fn at(path: PathBuf) -> Self {
        Self {
            path,
            key: None,
            decrypted: 0,
            failed: 0,
        }
    }

    /// Decrypts a second factor. The inner error is about this one only.
    ///
    /// # Errors
    /// When the key file cannot be read or contains no key.
    pub(super) fn decrypt(
        &mut self,
        ciphertext: &str,
    ) -> Result<Result<TotpSecret, SkipReason>, ReadError> {
        let key = match &mut self.key {
            Some(key) => key,
            none => none.insert(read(&self.path)?),
        };
        let text = STANDARD
            .decode(ciphertext.trim())
            .ok()
            .and_then(|ciphertext| key.pkcs1v15_decrypt(&ciphertext).ok())
            .map(Zeroizing::new);
        // With wrong padding, decryption returns random bytes instead of an error.
        let text = text.as_deref().and_then(|text| str::from_utf8(text).ok());
        let text = text.unwrap_or_default();
        let secret = TotpSecret::from_base32(text);
        if secret.is_ok() || is_base32(text) {
            self.decrypted += 1;
            return Ok(secret.map_err(|_| SkipReason::SecretLength));
        }
        // The plaintext is not base32: the key is wrong, or the ciphertext is damaged.
        self.failed += 1;
        Ok(Err(SkipReason::Undecryptable))
    }

    /// Checks that the key is not that of another node: it decrypted a second factor, or
    /// failed on none.
    pub(super) fn check_use(&self) -> Result<(), ReadError> {
        if self.failed == 0 || self.decrypted > 0 {
            return Ok(());
        }
        Err(ReadError::WrongKey {
            path: self.path.clone(),
            failed: self.failed,
        })
    }
}

fn is_base32(text: &str) -> bool {
    text.len() >= MIN_TEXT_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'2'..=b'7' | b'=' | b' '))
}

fn read(path: &Path) -> Result<PrivateKey, ReadError> {
    let text = read_text(path).map_err(|source| ReadError::NoKey {
        path: path.to_owned(),
        source,
    })?;
    str::from_utf8(&text)
        .ok()
        .and_then(parse)
        .ok_or_else(|| ReadError::NotAKey(path.to_owned()))
}

fn read_text(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Allocates all at once: growing would leave copies of the key in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE_BYTES as usize));
    File::open(path)?
        .take(MAX_FILE_BYTES)
        .read_to_end(&mut text)?;
    Ok(text)
}

fn parse(pem: &str) -> Option<PrivateKey> {
    let (label, der) = SecretDocument::from_pem(pem.trim()).ok()?;
    if label != "RSA PRIVATE KEY" {
        return None;
    }
    let parts = RsaPrivateKeyRef::from_der(der.as_bytes()).ok()?;
    let number = |part: &UintRef<'_>| BoxedUint::from_be_slice_vartime(part.as_bytes());
    // Python's `rsa` creates primes of different lengths (1088 and 960 bits), which the crate's own
    // PEM parser rejects.
    PrivateKey::from_components_with_wide_primes(
        number(&parts.modulus),
        number(&parts.public_exponent),
        number(&parts.private_exponent),
        vec![number(&parts.prime1), number(&parts.prime2)],
    )
    .ok()
}
