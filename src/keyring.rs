//! The keys of the working directory, and sealing with them.
//!
//! `secret.keys` (mode 0600, made on first start) holds keys that are not in
//! the database: whoever gets a copy of the database alone can open nothing
//! that is sealed in it. A line is `<number> <64 hex digits>`; the last line's
//! key seals, every key opens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::workdir::write_whole;

/// Name of the key file in the working directory.
const KEY_FILE: &str = "secret.keys";
/// Bytes of a nonce: random ones never meet at this length.
const NONCE_BYTES: usize = 24;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read or made.
    #[error("cannot use {path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not there, but the database has been used.
    #[error(
        "{path} is missing, but the database has been used with it: restore it from a backup. Without it nothing that is sealed in the database can be opened", path = path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there, and holds no keys.
    #[error(
        "{path} does not hold keys (lines of a number and 64 hex digits): restore it from a backup", path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The keys are not those that the database was used with.
    #[error("{path} does not hold the key that the database was used with: restore the right file from a backup", path = path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
    },
}

/// Seals and opens. It cannot be printed.
pub struct Keyring {
    path: PathBuf,
    keys: Vec<(u8, XChaCha20Poly1305)>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// Reads the keys of a working directory; makes the first one only where
    /// `may_make` says that nothing can have been sealed yet.
    ///
    /// # Errors
    /// When the file is missing, damaged or cannot be used. Nothing is reset.
    pub fn open(workdir: &Path, may_make: bool) -> Result<Self, KeyringError> {
        let path = workdir.join(KEY_FILE);
        let io_error = |error| KeyringError::Io {
            path: path.clone(),
            error,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => {
                let text = new_key_file().map_err(io_error)?;
                write_whole(&path, &text).map_err(io_error)?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyringError::Missing { path });
            }
            Err(error) => return Err(io_error(error)),
        };
        match parse(&text) {
            Some(keys) if !keys.is_empty() => Ok(Self { path, keys }),
            _ => Err(KeyringError::Malformed { path }),
        }
    }

    /// The error of a store that was sealed with other keys.
    #[must_use]
    pub fn wrong(&self) -> KeyringError {
        KeyringError::Wrong {
            path: self.path.clone(),
        }
    }

    /// Something that seals once, with all that could fail behind it.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn sealer(&self) -> io::Result<Sealer> {
        let (number, cipher) = self
            .keys
            .last()
            .ok_or_else(|| io::Error::other("there is no key"))?;
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Sealer {
            number: *number,
            cipher: cipher.clone(),
            nonce,
        })
    }

    /// Opens what was sealed under the same context; `None` for anything
    /// else.
    #[must_use]
    pub fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (number, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == number)?;
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        key.decrypt(&XNonce::from(*nonce), payload)
            .ok()
            .map(Zeroizing::new)
    }
}

/// Seals one thing.
pub struct Sealer {
    number: u8,
    cipher: XChaCha20Poly1305,
    nonce: [u8; NONCE_BYTES],
}

impl Sealer {
    /// Seals bytes. They open only under the same `context`: what they are
    /// and whose.
    #[must_use]
    pub fn seal(self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        // The cipher refuses nothing shorter than 256 GiB; what it refused
        // would open as nothing.
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(self.nonce), payload)
            .unwrap_or_default();
        [&[self.number][..], &self.nonce, &sealed].concat()
    }
}

fn new_key_file() -> io::Result<Zeroizing<String>> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(|error| io::Error::other(error.to_string()))?;
    let hex = Zeroizing::new(hex::encode(key.as_slice()));
    Ok(Zeroizing::new(format!("1 {}\n", *hex)))
}

fn parse(text: &str) -> Option<Vec<(u8, XChaCha20Poly1305)>> {
    text.lines()
        .map(|line| {
            let (number, hex) = line.split_once(' ')?;
            let mut key = Zeroizing::new([0u8; 32]);
            hex::decode_to_slice(hex, key.as_mut_slice()).ok()?;
            let cipher = XChaCha20Poly1305::new(&Key::from(*key));
            Some((number.parse().ok()?, cipher))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> (tempfile::TempDir, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(folder.path(), true).unwrap();
        (folder, keyring)
    }

    #[test]
    fn opens_only_under_the_same_context() {
        let (_folder, keyring) = keyring();
        let sealed = keyring.sealer().unwrap().seal(b"alice", b"secret");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!(
            &**keyring.open_sealed(b"alice", &sealed).unwrap(),
            b"secret"
        );
        assert!(keyring.open_sealed(b"bob", &sealed).is_none());
        let mut forged = sealed;
        *forged.last_mut().unwrap() ^= 1;
        assert!(keyring.open_sealed(b"alice", &forged).is_none());
        assert!(keyring.open_sealed(b"alice", b"").is_none());
    }

    #[test]
    fn the_same_plain_text_is_never_sealed_alike() {
        let (_folder, keyring) = keyring();
        assert_ne!(
            keyring.sealer().unwrap().seal(b"x", b"secret"),
            keyring.sealer().unwrap().seal(b"x", b"secret")
        );
    }

    #[test]
    fn a_missing_or_damaged_file_is_never_replaced() {
        let (folder, keyring) = keyring();
        let sealed = keyring.sealer().unwrap().seal(b"x", b"secret");
        let again = Keyring::open(folder.path(), true).unwrap();
        assert!(again.open_sealed(b"x", &sealed).is_some());
        let file = folder.path().join(KEY_FILE);
        fs::write(&file, "1 rubbish\n").unwrap();
        assert!(matches!(
            Keyring::open(folder.path(), true),
            Err(KeyringError::Malformed { .. })
        ));
        fs::remove_file(&file).unwrap();
        assert!(matches!(
            Keyring::open(folder.path(), false),
            Err(KeyringError::Missing { .. })
        ));
    }
}
