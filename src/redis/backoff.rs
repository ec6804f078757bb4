//! Pauses between tries.

use std::time::Duration;

const SHORTEST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Growing waits between tries, never above a second.
pub struct Backoff(Duration);

impl Backoff {
    /// Begins with the shortest pause.
    #[must_use]
    pub const fn new() -> Self {
        Self(SHORTEST_WAIT)
    }

    /// Waits, and doubles the next pause.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
    }

    /// Begins with the shortest pause again.
    pub const fn reset(&mut self) {
        self.0 = SHORTEST_WAIT;
    }
}
