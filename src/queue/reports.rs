//! What the fetcher and the acker report: whether Redis works for the daemon, which is logged and
//! published, and dead letters, which are logged at a bounded rate, because any client can cause
//! them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use super::Status;

/// Interval between repeated warnings that Redis is unavailable.
const REPEAT: Duration = Duration::from_secs(60);
/// Minimum interval between log lines about dead letters.
const REPEAT_DEAD_LETTERS: Duration = Duration::from_secs(10);

/// Whether Redis works, and the log lines about it and about dead letters. The fetcher and the acker
/// share it.
#[derive(Default)]
pub(super) struct Reports {
    status: watch::Sender<Status>,
    current: Mutex<State>,
    failures: AtomicU64,
}

#[derive(Default)]
struct State {
    /// What fails at present.
    failing: BTreeSet<&'static str>,
    /// When the log last said that Redis is unavailable.
    logged: Option<Instant>,
    logged_dead_letters: Option<Instant>,
    unlogged_dead_letters: u64,
}

impl Reports {
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
            std::mem::replace(status, Status::Serving) != Status::Serving
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

    /// Records that this number of messages became dead letters.
    pub(super) fn dead_letters(&self, count: u64, reason: &str) {
        let mut current = self.current();
        let logged = current.logged_dead_letters;
        if logged.is_some_and(|at| at.elapsed() < REPEAT_DEAD_LETTERS) {
            current.unlogged_dead_letters += count;
            return;
        }
        current.logged_dead_letters = Some(Instant::now());
        let unlogged = std::mem::take(&mut current.unlogged_dead_letters);
        drop(current);
        warn!(
            reason,
            count,
            and_before = unlogged,
            "messages became dead letters"
        );
    }

    fn current(&self) -> MutexGuard<'_, State> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
