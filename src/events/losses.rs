//! Events that reach nobody are counted, and the log tells of them now and
//! then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// How often the log tells of losses.
const REPEAT: Duration = Duration::from_secs(60);

/// Shared by all that can lose one.
#[derive(Default)]
pub(super) struct Losses(Mutex<Lost>);

#[derive(Default)]
struct Lost {
    /// Since the log told of it.
    count: u64,
    /// The last reason.
    why: String,
    logged: Option<Instant>,
}

impl Losses {
    /// So many were lost: the log tells of it at once, or a minute after it
    /// last did.
    pub(super) fn add(&self, count: usize, why: impl FnOnce() -> String) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.count == 0 {
            lost.why = why();
        }
        lost.count = lost
            .count
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        lost.tell_if_due();
    }

    /// Tells of those of which the log has not told, once it is time.
    pub(super) fn tell_if_due(&self) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.tell_if_due();
    }

    /// Tells of them now, as this is the end.
    pub(super) fn tell(&self) {
        let mut lost = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost.tell();
    }
}

impl Lost {
    fn tell_if_due(&mut self) {
        if self.logged.is_none_or(|at| at.elapsed() >= REPEAT) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let lost = std::mem::take(&mut self.count);
        if lost > 0 {
            self.logged = Some(Instant::now());
            warn!(lost, why = self.why, "events were not published");
        }
    }
}
