//! Sealing with keys that are kept outside the database.
//!
//! The key file `secret.keys` (mode 0600, created at the first start) holds the keys, so that an
//! attacker with a copy of the database alone cannot open its sealed items. A line is
//! `<number> <64 hex digits>`. The key of the last line seals; every key opens.
//!
//! A rotation adds and drops keys while requests run (`rotation.rs`). A request holds a [`Lease`],
//! so that a key is dropped only when no request can hold an item that is sealed with it.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::failure::{FileError, HasRemedy, Remedy};
use crate::random::{self, NoRandomness};
use crate::workdir::write_atomic;

/// Name of the key file in the working directory.
const KEY_FILE: &str = "secret.keys";
/// Length of a nonce in bytes, long enough that random nonces do not collide.
const NONCE_BYTES: usize = 24;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read or created.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is missing, but the database has been used.
    #[error(
        "{path} is missing, but the database has been used with it: restore it from a backup. Without it nothing that is sealed in the database can be opened", path = .0.display()
    )]
    Missing(PathBuf),
    /// The file does not contain valid keys.
    #[error(
        "{path} does not contain valid keys (a line for each: a unique number, a space, 64 hex digits): restore it from a backup", path = .0.display()
    )]
    Malformed(PathBuf),
    /// Users other than the owner may read or write the file.
    #[error("others may read or write the keys in {path} (mode {mode:o}): chmod 600 {path}", path = path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The keys are not those that the database was used with.
    #[error("{path} does not hold the key that the database was used with: restore the right file from a backup", path = .0.display())]
    Wrong(PathBuf),
}

impl HasRemedy for KeyringError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::File(error) => error.remedy(),
            Self::Missing(_) | Self::Malformed(_) | Self::OpenToOthers { .. } | Self::Wrong(_) => {
                Remedy::Operator
            }
        }
    }
}

/// Seals and opens items. `Debug` does not print the keys.
pub struct Keyring {
    path: PathBuf,
    keys: RwLock<Keys>,
    leases: Mutex<Leases>,
}

/// The keys of the file, each with its number.
struct Keys {
    /// The keys that only open.
    older: Vec<(u8, XChaCha20Poly1305)>,
    /// The key that seals.
    newest: (u8, XChaCha20Poly1305),
}

/// Held by a request for as long as it may hold a sealed item.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "dropping it is a signal")] mpsc::Sender<Infallible>);

/// The leases since the last [`Keyring::quiesce`]. The channel closes when all of them are dropped.
struct Leases {
    lender: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

impl Leases {
    fn new() -> Self {
        let (lender, ended) = mpsc::channel(1);
        Self { lender, ended }
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// Returns the default path of the key file.
    #[must_use]
    pub fn default_path(workdir: &Path) -> PathBuf {
        workdir.join(KEY_FILE)
    }

    /// Reads the key file. Creates it if it is missing and `may_create` is set, which asserts that
    /// nothing can have been sealed yet.
    ///
    /// # Errors
    /// When the file is missing, damaged, accessible to others or cannot be used. An existing file
    /// is never overwritten.
    pub fn open(path: PathBuf, may_create: bool) -> Result<Self, KeyringError> {
        let text = match fs::File::open(&path) {
            Ok(file) => {
                check_mode(&path, &file)?;
                read_keys_file(&path, file)?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                let text = new_key_line(1).map_err(FileError::at(&path))?;
                write_atomic(&path, &text).map_err(FileError::at(&path))?;
                text
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyringError::Missing(path));
            }
            Err(error) => return Err(FileError { path, error }.into()),
        };
        let Some(keys) = parse(&text) else {
            return Err(KeyringError::Malformed(path));
        };
        Ok(Self {
            path,
            keys: RwLock::new(keys),
            leases: Mutex::new(Leases::new()),
        })
    }

    /// Returns a lease, to be held while a sealed item is read from or written to the store.
    #[must_use]
    pub fn lease(&self) -> Lease {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        Lease(leases.lender.clone())
    }

    /// Waits until all leases taken before this call are dropped.
    pub async fn quiesce(&self) {
        let Leases { lender, mut ended } = {
            let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *leases, Leases::new())
        };
        drop(lender);
        // Returns `None` once the last lease is dropped.
        while ended.recv().await.is_some() {}
    }

    /// Returns the number of the key that seals.
    #[must_use]
    pub fn newest(&self) -> u8 {
        self.read_keys().newest.0
    }

    /// Whether there are keys other than the one that seals.
    #[must_use]
    pub fn has_older_keys(&self) -> bool {
        !self.read_keys().older.is_empty()
    }

    /// Returns the number of the key that an item was sealed with.
    #[must_use]
    pub fn number_of(sealed: &[u8]) -> Option<u8> {
        sealed.first().copied()
    }

    /// Adds a new key, which seals from then on. It is on disk before it is used.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_key(&self) -> Result<u8, KeyringError> {
        self.rewrite(|text| {
            // Numbered after the keys in the file: the operator may have edited it.
            let number = parse(text).map_or(1, |keys| keys.newest.0.wrapping_add(1));
            let line = new_key_line(number)?;
            Ok(Zeroizing::new([text.trim_end(), "\n", &line].concat()))
        })?;
        Ok(self.newest())
    }

    /// Drops all keys except the one that seals.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn drop_older_keys(&self) -> Result<(), KeyringError> {
        self.rewrite(|text| {
            let newest = text.lines().next_back().unwrap_or_default();
            Ok(Zeroizing::new([newest, "\n"].concat()))
        })
    }

    /// Rewrites the file, and then replaces the keys in memory by those of the file.
    fn rewrite(
        &self,
        change: impl FnOnce(&str) -> Result<Zeroizing<String>, NoRandomness>,
    ) -> Result<(), KeyringError> {
        let path = &self.path;
        let file = fs::File::open(path).map_err(FileError::at(path))?;
        let text = read_keys_file(path, file)?;
        let text = change(&text).map_err(FileError::at(path))?;
        let keys = parse(&text).ok_or_else(|| KeyringError::Malformed(path.clone()))?;
        write_atomic(path, &text).map_err(FileError::at(path))?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn read_keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error for a store that was sealed with other keys.
    #[must_use]
    pub fn wrong(&self) -> KeyringError {
        KeyringError::Wrong(self.path.clone())
    }

    /// Returns a [`Sealer`] for one item. Every step that can fail is done here.
    ///
    /// # Errors
    /// When the operating system provides no randomness.
    pub fn sealer(&self) -> Result<Sealer, NoRandomness> {
        let (number, cipher) = self.read_keys().newest.clone();
        Ok(Sealer {
            number,
            cipher,
            nonce: random::bytes()?,
        })
    }

    /// Opens an item. Returns `None` if it was sealed under another context or with an unknown key,
    /// or if it is damaged.
    #[must_use]
    pub fn open_sealed(&self, context: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (number, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let keys = self.read_keys();
        let mut known = keys.older.iter().chain([&keys.newest]);
        let (_, key) = known.find(|(known, _)| known == number)?;
        let payload = Payload {
            msg: sealed,
            aad: context,
        };
        key.decrypt(&XNonce::from(*nonce), payload)
            .ok()
            .map(Zeroizing::new)
    }
}

/// Seals one item.
pub struct Sealer {
    number: u8,
    cipher: XChaCha20Poly1305,
    nonce: [u8; NONCE_BYTES],
}

impl Sealer {
    /// Seals bytes. They open only under the same `context`, which names the kind of the item and
    /// its owner.
    #[must_use]
    pub fn seal(self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        let payload = Payload {
            msg: plain,
            aad: context,
        };
        // The cipher fails only above 256 GiB. The empty result of a failure would not open.
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(self.nonce), payload)
            .unwrap_or_default();
        [&[self.number][..], &self.nonce, &sealed].concat()
    }
}

/// Rejects a file that group or others can read or write, as ssh does.
fn check_mode(path: &Path, file: &fs::File) -> Result<(), KeyringError> {
    let metadata = file.metadata().map_err(FileError::at(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 || is_credential(path) {
        return Ok(());
    }
    Err(KeyringError::OpenToOthers {
        path: path.to_owned(),
        mode,
    })
}

/// Whether the file is a credential of systemd (systemd.exec(5), Credentials). systemd protects it,
/// and its mode may show the mask of an access control list.
fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .map(PathBuf::from)
        .is_some_and(|folder| folder.is_absolute() && path.starts_with(folder))
}

fn read_keys_file(path: &Path, mut file: fs::File) -> Result<Zeroizing<String>, KeyringError> {
    let mut text = Zeroizing::new(String::new());
    match file.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        // The file is not UTF-8.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyringError::Malformed(path.to_owned()))
        }
        Err(error) => Err(FileError::at(path)(error).into()),
    }
}

fn new_key_line(number: u8) -> Result<Zeroizing<String>, NoRandomness> {
    let key = random::secret(32)?;
    let hex = Zeroizing::new(hex::encode(key.as_slice()));
    Ok(Zeroizing::new(format!("{number} {}\n", *hex)))
}

/// Parses the keys of a file. Returns `None` if there is none, if a line is invalid or if a number
/// occurs twice: it would not identify the key of an item.
fn parse(text: &str) -> Option<Keys> {
    // An editor may have added a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut keys: Vec<(u8, XChaCha20Poly1305)> = text
        .lines()
        .map(|line| {
            let (number, hex) = line.split_once(' ')?;
            let mut key = Zeroizing::new([0u8; 32]);
            hex::decode_to_slice(hex, key.as_mut_slice()).ok()?;
            let cipher = XChaCha20Poly1305::new(&Key::from(*key));
            Some((number.parse().ok()?, cipher))
        })
        .collect::<Option<_>>()?;
    let numbers: HashSet<u8> = keys.iter().map(|(number, _)| *number).collect();
    let are_unique = numbers.len() == keys.len();
    // Not `pop`, which would leave the key in the spare capacity, where nothing wipes it.
    let newest = keys.last().filter(|_| are_unique)?.clone();
    keys.truncate(keys.len() - 1);
    Some(Keys {
        older: keys,
        newest,
    })
}

#[cfg(test)]
mod tests;
