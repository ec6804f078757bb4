//! Counts events that were not published, and logs the count at most once a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Minimum time between two log lines about lost events.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counter of lost events, shared by the publisher and its task.
#[derive(Default)]
pub(super) struct Losses(Mutex<Unlogged>);

/// Losses since the last log line.
#[derive(Default)]
struct Unlogged {
    count: usize,
    /// Reason for the first of these losses.
    why: String,
    /// Time of the last log line.
    logged: Option<Instant>,
}

impl Losses {
    /// Counts lost events. The first loss is logged at once, later ones at most once a minute.
    pub(super) fn add(&self, count: usize, why: impl FnOnce() -> String) {
        let mut lost = self.lock();
        if lost.count == 0 {
            lost.why = why();
        }
        lost.count = lost.count.saturating_add(count);
        lost.log_if_due();
    }

    /// Logs the unlogged losses if the last log line is a minute old.
    pub(super) fn log_if_due(&self) {
        self.lock().log_if_due();
    }

    /// Logs the unlogged losses now; for the end of the daemon.
    pub(super) fn log(&self) {
        self.lock().log();
    }

    fn lock(&self) -> MutexGuard<'_, Unlogged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unlogged {
    fn log_if_due(&mut self) {
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.log();
        }
    }

    fn log(&mut self) {
        let lost = std::mem::take(&mut self.count);
        if lost > 0 {
            self.logged = Some(Instant::now());
            warn!(lost, why = self.why, "events were not published");
        }
    }
}
