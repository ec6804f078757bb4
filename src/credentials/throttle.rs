//! Limits the rate of login attempts under one name, known or unknown (OWASP ASVS 5.0, 6.3.1; NIST
//! SP 800-63B-4: at most 100 failures in a row).
//!
//! The store keeps the counts of failures, which outlive the process. This module computes the
//! waits from them. Its gate holds only the pending attempts of one name, and bounds them by the
//! number of failures left before the limit: further attempts wait, and are then judged by the
//! count that the earlier attempts leave.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::model::Failures;

/// Maximum wait between two attempts in seconds, below [`HARD_LIMIT`].
const MAX_WAIT: u64 = 60;
/// Failures in a row from which on one attempt an hour is allowed.
const HARD_LIMIT: u32 = 100;
/// Wait between two attempts in seconds, from [`HARD_LIMIT`] on.
const HARD_WAIT: u64 = 3_600;

/// Limits login attempts.
pub struct Throttle {
    /// Failures in a row from which on attempts must wait; 0 disables the throttle.
    limit: u32,
    gates: Arc<Mutex<HashMap<String, Gate>>>,
}

/// The pending attempts of one name.
#[derive(Default)]
struct Gate {
    pending: u32,
    /// Number of permits and waiters. The last of them removes the gate.
    holders: usize,
    /// Number of attempts decided so far. A count of failures read before a decision is stale.
    decided: u64,
    changed: Arc<Notify>,
}

/// Permission to check an attempt. Must be dropped once the attempt is decided and its outcome is
/// in the store.
pub struct AttemptPermit {
    gates: Arc<Mutex<HashMap<String, Gate>>>,
    /// `None` if the throttle is disabled.
    name: Option<String>,
}

impl std::fmt::Debug for AttemptPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttemptPermit")
    }
}

impl Throttle {
    /// Creates a throttle with waits from `limit` failures in a row on; 0 disables it.
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

    /// Returns the seconds until the next attempt is allowed, or `None` if it is allowed now.
    pub(super) fn wait_of(&self, failures: Failures, now: Timestamp) -> Option<u64> {
        let last = failures.last?;
        if !self.is_on() || failures.count < self.limit {
            return None;
        }
        let wait = if failures.count >= HARD_LIMIT {
            HARD_WAIT
        } else {
            let doublings = failures.count - self.limit;
            1_u64
                .checked_shl(doublings)
                .map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT))
        };
        // A clock that was set back must not lock a name until it has caught up: the attempt is
        // allowed, and a failure counts at the new time.
        let passed = (now - last).to_std().ok()?;
        let remaining = Duration::from_secs(wait).checked_sub(passed)?;
        // Rounded up, so that an attempt after that many seconds is allowed.
        let seconds = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
        (seconds > 0).then_some(seconds)
    }

    /// Admits an attempt of a name, or returns the seconds until the next one is allowed. Waits
    /// while as many attempts are pending as may still fail.
    ///
    /// `read` reads the state of the name; `judge` returns its failures and the current time.
    pub(super) async fn enter<T, E, F>(
        &self,
        name: &str,
        mut read: impl FnMut() -> F,
        judge: impl Fn(&T) -> (Failures, Timestamp),
    ) -> Result<Result<(T, AttemptPermit), (T, u64)>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        if !self.is_on() {
            let permit = AttemptPermit {
                gates: Arc::clone(&self.gates),
                name: None,
            };
            return Ok(Ok((read().await?, permit)));
        }
        let mut waiter = Waiter::new(&self.gates, name);
        loop {
            let (decided, changed) = waiter.observe();
            let state = read().await?;
            let (failures, now) = judge(&state);
            if let Some(seconds) = self.wait_of(failures, now) {
                return Ok(Err((state, seconds)));
            }
            let allowed = self.limit.saturating_sub(failures.count).max(1);
            match waiter.try_acquire(decided, allowed) {
                Some(permit) => return Ok(Ok((state, permit))),
                None => changed.await,
            }
        }
    }
}

/// An attempt that waits at the gate of a name.
struct Waiter<'a> {
    gates: &'a Arc<Mutex<HashMap<String, Gate>>>,
    name: &'a str,
}

impl<'a> Waiter<'a> {
    fn new(gates: &'a Arc<Mutex<HashMap<String, Gate>>>, name: &'a str) -> Self {
        lock(gates).entry(name.to_owned()).or_default().holders += 1;
        Self { gates, name }
    }

    /// Returns the number of decisions so far, and a future that resolves at the next one.
    fn observe(&self) -> (u64, impl Future<Output = ()> + use<>) {
        let mut gates = lock(self.gates);
        let gate = gates.entry(self.name.to_owned()).or_default();
        let changed = Arc::clone(&gate.changed).notified_owned();
        (gate.decided, changed)
    }

    /// Returns a permit if fewer than `allowed` attempts are pending and no attempt was decided
    /// since [`Self::observe`]. (After such a decision, the future it returned is ready.)
    fn try_acquire(&mut self, decided: u64, allowed: u32) -> Option<AttemptPermit> {
        let mut gates = lock(self.gates);
        let gate = gates.get_mut(self.name)?;
        if gate.decided != decided || gate.pending >= allowed {
            return None;
        }
        gate.pending += 1;
        gate.holders += 1;
        Some(AttemptPermit {
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

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        let Some(name) = &self.name else {
            return;
        };
        let mut gates = lock(&self.gates);
        if let Some(gate) = gates.get_mut(name) {
            gate.pending -= 1;
            gate.decided += 1;
            gate.changed.notify_waiters();
        }
        leave(&mut gates, name);
    }
}

fn leave(gates: &mut HashMap<String, Gate>, name: &str) {
    if let Some(gate) = gates.get_mut(name) {
        gate.holders -= 1;
        if gate.holders == 0 {
            gates.remove(name);
        }
    }
}

fn lock(gates: &Mutex<HashMap<String, Gate>>) -> MutexGuard<'_, HashMap<String, Gate>> {
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}
