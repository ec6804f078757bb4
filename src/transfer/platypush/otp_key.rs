//! The key of a node, by which it keeps the second factors of its users:
//! base64 of RSA (PKCS#1 v1.5) of the secret in base32
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

/// A key of 8192 bits has some 6 KiB.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// What comes out of a wrong key looks like base32 of that length once in some
/// millions.
const MIN_TEXT_BYTES: usize = 8;

/// The key, read when it is needed first.
pub(super) struct OtpKey {
    path: PathBuf,
    key: Option<PrivateKey>,
}

/// What a sealed second factor turned out to be.
pub(super) enum Opened {
    /// What it should be.
    Secret(TotpSecret),
    /// A secret of a length that is not taken: the key fits.
    WrongLength,
    /// Nothing that a node would have sealed with this key.
    Nothing,
}

impl OtpKey {
    pub(super) const fn at(path: PathBuf) -> Self {
        Self { path, key: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a second factor.
    ///
    /// # Errors
    /// When the key cannot be read, or is none.
    pub(super) fn open(&mut self, sealed: &str) -> Result<Opened, ReadError> {
        let key = match &mut self.key {
            Some(key) => key,
            none => none.insert(read(&self.path)?),
        };
        let text = STANDARD
            .decode(sealed.trim())
            .ok()
            .and_then(|sealed| key.pkcs1v15_decrypt(&sealed).ok())
            .map(Zeroizing::new);
        // Where the padding is wrong, what comes out is random, and no error.
        let text = text.as_deref().and_then(|text| str::from_utf8(text).ok());
        Ok(match text {
            Some(text) => match TotpSecret::from_base32(text) {
                Ok(secret) => Opened::Secret(secret),
                Err(_) if is_base32(text) => Opened::WrongLength,
                Err(_) => Opened::Nothing,
            },
            None => Opened::Nothing,
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
    // At once, so that no copies are left where it grew.
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
    // The primes of Python's `rsa` differ in length (1088 and 960 bits), which
    // the crate's own reading of PEM refuses.
    PrivateKey::from_components_with_wide_primes(
        number(&parts.modulus),
        number(&parts.public_exponent),
        number(&parts.private_exponent),
        vec![number(&parts.prime1), number(&parts.prime2)],
    )
    .ok()
}
