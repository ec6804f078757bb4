//! Randomness: the only place that asks the operating system for it.

use std::io;

/// The operating system gives no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

/// Fills `bytes` with random ones, fit for keys.
///
/// # Errors
/// When the operating system gives none.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where all randomness comes from"
)]
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}

/// Returns random bytes. (Those of a secret are better filled in where they are wiped.)
///
/// # Errors
/// When the operating system gives none.
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
