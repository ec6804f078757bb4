//! Operations on failed attempts. Failures of a user are in its record; failures under unknown
//! names are in a table of bounded size.
//!
//! A failed attempt is counted in the step that records its reply as an outcome, so that a count
//! can neither be lost nor counted twice.

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{Attempted, Failures, NameHash};
use crate::store::Result;
use crate::store::rows::{Reads, Rows};

/// Counts a failed attempt.
pub struct NoteFailure {
    pub(in crate::store) attempted: Attempted,
    pub(in crate::store) at: Timestamp,
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
        match self.attempted {
            Attempted::User(id) => match rows.user(id)? {
                Some(mut user) => {
                    user.failures = user.failures.plus_one(self.at);
                    let failures = user.failures;
                    rows.put_user(user);
                    Ok(failures)
                }
                None => Ok(Failures::default()),
            },
            Attempted::UnknownName(name) => self.note_unknown(rows, name),
        }
    }
}

impl NoteFailure {
    fn note_unknown(&self, rows: &mut Rows, name: NameHash) -> Result<Failures> {
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
    pub(in crate::store) attempted: Attempted,
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
                if rows
                    .attempts
                    .get(&name)?
                    .is_some_and(|failures| failures.count > 0)
                {
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
        Attempted::User(id) => Reads {
            users: vec![id],
            ..Reads::default()
        },
        Attempted::UnknownName(name) => Reads {
            counters: true,
            attempts: vec![name],
            ..Reads::default()
        },
    }
}
