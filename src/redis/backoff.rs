//! Exponential backoff between connection attempts.

use std::time::Duration;

const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Exponential backoff from 50 ms to 1 s.
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(MIN_DELAY)
    }
}

impl Backoff {
    /// Waits for the current delay, then doubles it.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_DELAY);
    }

    /// Resets the delay to its minimum.
    pub const fn reset(&mut self) {
        self.0 = MIN_DELAY;
    }
}
