//! Random bytes from the operating system.

use std::io;

use zeroize::Zeroizing;

/// Error for an operating system that gives no randomness.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no randomness: {0}")]
pub struct NoRandomness(getrandom::Error);

#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads randomness"
)]
fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(NoRandomness)
}

/// Returns cryptographically secure random bytes. For a secret use [`secret`], which is wiped.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns cryptographically secure random bytes that are wiped when they are dropped.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn secret(length: usize) -> Result<Zeroizing<Vec<u8>>, NoRandomness> {
    // On the heap: an array would leave a copy on the stack wherever it is moved.
    let mut bytes = Zeroizing::new(vec![0; length]);
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn hex_id() -> Result<String, NoRandomness> {
    Ok(hex::encode(bytes::<16>()?))
}

impl From<NoRandomness> for io::Error {
    fn from(error: NoRandomness) -> Self {
        Self::other(error)
    }
}
