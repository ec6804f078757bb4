//! What all threads of a run tell each other: how much was asked and
//! answered, what was not as it must be, and that something has happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Disagreements that are kept in words; all are counted.
const MOST_WORDS: usize = 20;

#[derive(Default)]
pub struct Ledger {
    requests: AtomicU64,
    answers: Mutex<u64>,
    rung: Condvar,
    disagreements: Mutex<(u64, Vec<String>)>,
    slowest: Mutex<Duration>,
}

impl Ledger {
    /// Notes that so many requests were sent.
    pub fn asked(&self, count: usize) {
        self.requests.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Notes an answer, and wakes who waits for one.
    pub fn answered(&self) {
        *self.answers.lock().unwrap() += 1;
        self.ring();
    }

    /// Wakes who waits: a process was ready, or ended.
    pub fn ring(&self) {
        drop(self.answers.lock().unwrap());
        self.rung.notify_all();
    }

    pub fn answers(&self) -> u64 {
        *self.answers.lock().unwrap()
    }

    /// Waits until `done` says so, which gets the number of answers; `false`
    /// when that takes longer than `patience`.
    pub fn wait(&self, patience: Duration, mut done: impl FnMut(u64) -> bool) -> bool {
        let answers = self.answers.lock().unwrap();
        let (_answers, timeout) = self
            .rung
            .wait_timeout_while(answers, patience, |answers| !done(*answers))
            .unwrap();
        !timeout.timed_out()
    }

    /// Notes something that is not as it must be.
    pub fn disagree(&self, what: impl Into<String>) {
        let what = what.into();
        let mut all = self.disagreements.lock().unwrap();
        all.0 += 1;
        if all.1.len() < MOST_WORDS {
            eprintln!("  DISAGREEMENT: {what}");
            all.1.push(what);
        }
    }

    pub fn disagreements(&self) -> u64 {
        self.disagreements.lock().unwrap().0
    }

    /// Notes how long serving again took after a fault had ended.
    pub fn served_again(&self, since: Instant, limit: Duration) {
        let took = since.elapsed();
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = took.max(*slowest);
        drop(slowest);
        if took > limit {
            self.disagree(format!("serving again took {took:?}"));
        }
    }

    /// The longest time until serving again.
    pub fn slowest(&self) -> Duration {
        *self.slowest.lock().unwrap()
    }
}
