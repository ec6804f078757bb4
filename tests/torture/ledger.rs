//! Ledger of a run, shared by all threads: counts of requests and replies, the disagreements
//! between daemon and model, and a notification of each change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Maximum number of disagreements that are printed; all are counted.
const MAX_PRINTED: usize = 20;

#[derive(Default)]
pub struct Ledger {
    requests: AtomicU64,
    replies: Mutex<u64>,
    changed: Condvar,
    disagreements: Mutex<(u64, Vec<String>)>,
    longest_downtime: Mutex<Duration>,
}

impl Ledger {
    /// Counts `count` requests as sent.
    pub fn count_requests(&self, count: usize) {
        self.requests.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a reply, and wakes the waiting threads.
    pub fn count_reply(&self) {
        *self.replies.lock().unwrap() += 1;
        self.notify();
    }

    /// Wakes the waiting threads after another change: a process is ready, or has ended.
    pub fn notify(&self) {
        drop(self.replies.lock().unwrap());
        self.changed.notify_all();
    }

    pub fn replies(&self) -> u64 {
        *self.replies.lock().unwrap()
    }

    /// Waits until `done`, called with the number of replies, returns `true`. Returns `false` if
    /// that takes longer than `timeout`.
    pub fn wait(&self, timeout: Duration, mut done: impl FnMut(u64) -> bool) -> bool {
        let replies = self.replies.lock().unwrap();
        let (_replies, waited) = self
            .changed
            .wait_timeout_while(replies, timeout, |replies| !done(*replies))
            .unwrap();
        !waited.timed_out()
    }

    /// Records a disagreement between the daemon and the model.
    pub fn disagree(&self, what: impl Into<String>) {
        let what = what.into();
        let mut all = self.disagreements.lock().unwrap();
        all.0 += 1;
        if all.1.len() < MAX_PRINTED {
            eprintln!("  DISAGREEMENT: {what}");
            all.1.push(what);
        }
    }

    pub fn disagreements(&self) -> u64 {
        self.disagreements.lock().unwrap().0
    }

    /// Records the time between the end of a fault and the next reply.
    pub fn record_downtime(&self, since: Instant, limit: Duration) {
        let took = since.elapsed();
        let mut longest = self.longest_downtime.lock().unwrap();
        *longest = took.max(*longest);
        drop(longest);
        if took > limit {
            self.disagree(format!("serving again took {took:?}"));
        }
    }

    /// Returns the longest recorded downtime.
    pub fn longest_downtime(&self) -> Duration {
        *self.longest_downtime.lock().unwrap()
    }
}
