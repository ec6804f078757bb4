//! What can go wrong with a password hash.

use crate::random::NoRandomness;

/// Why a password could not be hashed or checked. Nothing of it depends on
/// the password.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// The stored record is no Argon2id PHC string.
    #[error("a stored password record is unreadable: restore a backup, or set a new password")]
    Record,
    /// Argon2 refused its input.
    #[error("argon2: {0}")]
    Argon2(String),
    /// The operating system gave no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// No room for the work memory.
    #[error("not enough memory for a password hash: lower password.memory_kib or password.threads")]
    OutOfMemory,
    /// A hashing thread panicked.
    #[error("a password hash panicked")]
    Panicked,
    /// No thread could be started.
    #[error("cannot start a hashing thread: {0}")]
    Thread(String),
}
