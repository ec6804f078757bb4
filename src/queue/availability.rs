//! Whether Redis works for the daemon: logs and publishes what fails.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Status;

/// Interval between repeated warnings.
const REPEAT: Duration = Duration::from_secs(60);

/// Availability of Redis, shared by the fetcher and the acker.
pub(super) struct Availability {
    status: watch::Sender<Status>,
    current: Mutex<Failures>,
    failures: AtomicU64,
}

#[derive(Default)]
struct Failures {
    /// What fails at present.
    failing: BTreeSet<&'static str>,
    logged: Option<Instant>,
}

impl Availability {
    pub(super) fn new() -> Self {
        Self {
            status: watch::Sender::new(Status::Connecting),
            current: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Records that something works (again).
    pub(super) fn works(&self, doing: &'static str) {
        let mut current = self.current();
        current.failing.remove(doing);
        if !current.failing.is_empty() {
            return;
        }
        if current.logged.take().is_some() {
            info!("Redis is back");
        }
        self.status.send_if_modified(|status| {
            let changed = *status != Status::Serving;
            *status = Status::Serving;
            changed
        });
    }

    /// Records that another store owned the queue from the beginning.
    pub(super) fn foreign(&self, store: String) {
        self.status.send_replace(Status::Foreign(store));
    }

    /// Records that something fails on a connection: a line in the log at once, then one a minute.
    pub(super) fn failed(&self, doing: &'static str, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.refused(doing, error);
    }

    /// Records that Redis refuses something on a connection that otherwise works.
    pub(super) fn refused(&self, doing: &'static str, error: &str) {
        let mut current = self.current();
        current.failing.insert(doing);
        self.status
            .send_replace(Status::Away(format!("{doing}: {error}")));
        if current.logged.is_none_or(|at| at.elapsed() >= REPEAT) {
            current.logged = Some(Instant::now());
            warn!(doing, error, "Redis is unavailable; trying again");
        }
    }

    /// Returns the number of failures so far. A connection that was made before the last failure may
    /// be dead as well, which only its next use shows.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn current(&self) -> MutexGuard<'_, Failures> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
