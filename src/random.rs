//! Random bytes from the operating system.

use std::io;

/// Error for an operating system that gives no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Fills `bytes` with cryptographically secure random bytes.
///
/// # Errors
/// When the operating system gives no randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads randomness"
)]
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}

/// Returns cryptographically secure random bytes. For a secret, prefer [`fill`] on a buffer that is
/// wiped, because this one is not.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

impl From<NoRandomness> for io::Error {
    fn from(error: NoRandomness) -> Self {
        Self::other(error)
    }
}
