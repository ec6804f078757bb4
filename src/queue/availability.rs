//! Whether Redis is there: what is logged and shown while it is not.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Status;

/// How often the log repeats that Redis is away.
const REPEAT: Duration = Duration::from_secs(60);

/// Shared by everything that talks to Redis.
pub(super) struct Availability {
    status: watch::Sender<Status>,
    troubles: Mutex<Troubles>,
    failures: AtomicU64,
}

#[derive(Default)]
struct Troubles {
    /// What does not work at present.
    failing: BTreeSet<&'static str>,
    logged: Option<Instant>,
}

impl Availability {
    pub(super) fn new() -> Self {
        Self {
            status: watch::Sender::new(Status::Connecting),
            troubles: Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Notes that something works (again).
    pub(super) fn works(&self, doing: &'static str) {
        let mut troubles = self.troubles();
        troubles.failing.remove(doing);
        if !troubles.failing.is_empty() {
            return;
        }
        if troubles.logged.take().is_some() {
            info!("Redis is back");
        }
        self.status.send_if_modified(|status| {
            let changed = *status != Status::Serving;
            *status = Status::Serving;
            changed
        });
    }

    /// Notes that the queue was another store's from the beginning.
    pub(super) fn foreign(&self, store: String) {
        self.status.send_replace(Status::Foreign(store));
    }

    /// Notes that something does not work: a line in the log at once, then
    /// one a minute.
    pub(super) fn failed(&self, doing: &'static str, error: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.refused(doing, error);
    }

    /// The same on a connection that is as good as before.
    pub(super) fn refused(&self, doing: &'static str, error: &str) {
        let mut troubles = self.troubles();
        troubles.failing.insert(doing);
        self.status
            .send_replace(Status::Away(format!("{doing}: {error}")));
        if troubles.logged.is_none_or(|at| at.elapsed() >= REPEAT) {
            troubles.logged = Some(Instant::now());
            warn!(doing, error, "Redis does not do its part; trying again");
        }
    }

    /// How often anything has failed: a connection made before the last time
    /// may be as dead as the one that failed, and not know it yet.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
