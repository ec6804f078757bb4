//! Operations on failed attempts. Failures of a user are in its record; failures under unknown
//! names are in a table of bounded size.
//!
//! A failed attempt is counted in the step that records its reply as an outcome, so that a count
//! can neither be lost nor counted twice.

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{Attempted, Failures};
use crate::store::Result;
use crate::store::rows::{Reads, Rows};

/// Counts a failed attempt and returns the new failures, or no failures if the user was deleted. The
/// store keeps a bounded number of unknown names and evicts the name with the oldest last attempt.
pub struct NoteFailure {
    /// The user or unknown name.
    pub attempted: Attempted,
    /// Time of the attempt.
    pub at: Timestamp,
}

impl Operation for NoteFailure {
    type Output = Failures;

    fn reads(&self) -> Reads {
        Reads {
            oldest_attempt: matches!(self.attempted, Attempted::UnknownName(_)),
            ..reads_of(self.attempted)
        }
    }

    fn apply(&self, rows: &mut Rows) -> Result<Failures> {
        let name = match self.attempted {
            Attempted::User(id) => {
                let Some(mut user) = rows.user(id)? else {
                    return Ok(Failures::default());
                };
                let failures = user.failures.plus_one(self.at);
                user.failures = failures;
                rows.put_user(user);
                return Ok(failures);
            }
            Attempted::UnknownName(name) => name,
        };
        let before = rows.attempts.get(&name)?.copied().unwrap_or_default();
        if before.count == 0 {
            let is_full = rows.counters()?.attempted >= rows.max_attempted;
            match rows.oldest_attempt().filter(|_| is_full) {
                Some(oldest) => rows.attempts.remove(oldest),
                None => rows.change_counters(|counters| counters.attempted += 1)?,
            }
        }
        let failures = before.plus_one(self.at);
        rows.attempts.put(name, failures);
        Ok(failures)
    }
}

/// Resets the failures of a user or of an unknown name.
pub struct ForgetFailures {
    /// The user or unknown name.
    pub attempted: Attempted,
}

impl Operation for ForgetFailures {
    type Output = ();

    fn reads(&self) -> Reads {
        reads_of(self.attempted)
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        match self.attempted {
            Attempted::User(id) => {
                if let Some(mut user) = rows.user(id)? {
                    user.failures = Failures::default();
                    rows.put_user_if_changed(user)?;
                }
            }
            Attempted::UnknownName(name) => {
                if rows.attempts.get(&name)?.is_some() {
                    rows.attempts.remove(name);
                    rows.change_counters(|counters| {
                        counters.attempted = counters.attempted.saturating_sub(1);
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Declares the row with the failures of a user or of an unknown name.
fn reads_of(attempted: Attempted) -> Reads {
    match attempted {
        Attempted::User(id) => Reads::user(id),
        Attempted::UnknownName(name) => Reads {
            attempts: vec![name],
            ..Reads::default().with_counters()
        },
    }
}
