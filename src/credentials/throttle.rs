//! Bounds how fast one name can be tried, whether or not somebody has it
//! (OWASP ASVS 5.0, 6.3.1; NIST SP 800-63B-4: at most 100 in a row).
//!
//! The counts are the store's, and outlive the process. Here is what they
//! mean, and the gate that lets only so many attempts of one name be undecided
//! at a time as may still fail: the others wait, and are judged by the count
//! that those leave.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::model::Failures;

/// Longest wait between two attempts, before [`HARD_LIMIT`].
const LONGEST_WAIT: u64 = 60;
/// Failures in a row after which one attempt an hour is left.
const HARD_LIMIT: u32 = 100;
const HARD_WAIT: u64 = 3_600;

/// How attempts are bounded.
pub struct Throttle {
    /// Failures in a row from which on attempts have to wait; 0 is off.
    limit: u32,
    gates: Arc<Mutex<HashMap<String, Gate>>>,
}

/// The undecided attempts of one name.
#[derive(Default)]
struct Gate {
    undecided: u32,
    /// Passes and waiters: the gate goes with the last of them.
    users: usize,
    /// Counts decisions, to tell whether a count of failures is stale.
    decided: u64,
    changed: Arc<Notify>,
}

/// The right to be tried; given up when the attempt is decided and its outcome
/// is in the store.
pub struct Pass {
    gates: Arc<Mutex<HashMap<String, Gate>>>,
    /// None where the throttle is off.
    name: Option<String>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pass")
    }
}

impl Throttle {
    /// With waits from `limit` failures in a row on; 0 is off.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            gates: Arc::default(),
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Seconds for which a name is not tried.
    pub(super) fn wait_of(&self, failures: Failures, now: Timestamp) -> Option<u64> {
        let last = failures.last?;
        if !self.is_on() || failures.count < self.limit {
            return None;
        }
        let wait = if failures.count >= HARD_LIMIT {
            HARD_WAIT
        } else {
            let doublings = (failures.count - self.limit).min(6);
            (1 << doublings).min(LONGEST_WAIT)
        };
        // A clock that was set back must not lock a name until it has caught
        // up: the attempt is let in, and if it fails counted at the new time.
        let passed = (now - last).to_std().ok()?;
        let left = Duration::from_secs(wait).checked_sub(passed)?;
        // Rounded up: who waits that long is let in.
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        (seconds > 0).then_some(seconds)
    }

    /// Lets an attempt of a name in, or says how many seconds it has to wait.
    /// `failures` reads the present count.
    pub(super) async fn enter<T, E, F>(
        &self,
        name: &str,
        mut read: impl FnMut() -> F,
        judge: impl Fn(&T) -> (Failures, Timestamp),
    ) -> Result<Result<(T, Pass), (T, u64)>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        if !self.is_on() {
            let pass = Pass {
                gates: Arc::clone(&self.gates),
                name: None,
            };
            return Ok(Ok((read().await?, pass)));
        }
        let mut waiter = Waiter::new(&self.gates, name);
        loop {
            let (decided, changed) = waiter.look();
            let seen = read().await?;
            let (failures, now) = judge(&seen);
            if let Some(seconds) = self.wait_of(failures, now) {
                return Ok(Err((seen, seconds)));
            }
            let allowed = self.limit.saturating_sub(failures.count).max(1);
            match waiter.try_pass(decided, allowed) {
                Some(pass) => return Ok(Ok((seen, pass))),
                None => changed.await,
            }
        }
    }
}

/// Somebody at the gate of a name.
struct Waiter<'a> {
    gates: &'a Arc<Mutex<HashMap<String, Gate>>>,
    name: &'a str,
}

impl<'a> Waiter<'a> {
    fn new(gates: &'a Arc<Mutex<HashMap<String, Gate>>>, name: &'a str) -> Self {
        lock(gates).entry(name.to_owned()).or_default().users += 1;
        Self { gates, name }
    }

    /// How many decisions there have been, and a future of the next one.
    fn look(&self) -> (u64, impl Future<Output = ()> + use<>) {
        let mut gates = lock(self.gates);
        let gate = gates.entry(self.name.to_owned()).or_default();
        let changed = Arc::clone(&gate.changed).notified_owned();
        (gate.decided, changed)
    }

    /// A pass, if there is room and the count of failures was not stale.
    /// (After a decision since the look, the future of it is ready.)
    fn try_pass(&mut self, decided: u64, allowed: u32) -> Option<Pass> {
        let mut gates = lock(self.gates);
        let gate = gates.get_mut(self.name)?;
        if gate.decided != decided || gate.undecided >= allowed {
            return None;
        }
        gate.undecided += 1;
        gate.users += 1;
        Some(Pass {
            gates: Arc::clone(self.gates),
            name: Some(self.name.to_owned()),
        })
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        leave(&mut lock(self.gates), self.name);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(name) = &self.name else {
            return;
        };
        let mut gates = lock(&self.gates);
        if let Some(gate) = gates.get_mut(name) {
            gate.undecided -= 1;
            gate.decided += 1;
            gate.changed.notify_waiters();
        }
        leave(&mut gates, name);
    }
}

fn leave(gates: &mut HashMap<String, Gate>, name: &str) {
    if let Some(gate) = gates.get_mut(name) {
        gate.users -= 1;
        if gate.users == 0 {
            gates.remove(name);
        }
    }
}

fn lock(gates: &Mutex<HashMap<String, Gate>>) -> MutexGuard<'_, HashMap<String, Gate>> {
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}
