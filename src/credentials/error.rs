//! Errors of password hashing.

use crate::random::NoRandomness;

/// Why a password could not be hashed or checked. It does not depend on the password.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// The stored record is malformed, or exceeds the bounds for imported hashes.
    #[error("a stored password record is unreadable: restore a backup, or set a new password")]
    Record,
    /// Argon2 refused its input.
    #[error("argon2: {0}")]
    Argon2(String),
    /// The operating system provides no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The work memory cannot be allocated.
    #[error("not enough memory for a password hash: lower password.memory_kib or password.threads")]
    OutOfMemory,
    /// A hashing thread panicked.
    #[error("a password hash panicked")]
    Panicked,
    /// A hashing thread cannot be started.
    #[error("cannot start a hashing thread: {0}")]
    Thread(String),
}
