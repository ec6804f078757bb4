//! Preconditions: checks that the data behind a caller's decision still holds.
//!
//! A password precondition names the one-time or backup code that proved it. The code is marked as
//! used in the step that writes the effect, so that it is accepted once, even across a crash.

use crate::model::{Failures, User};
use crate::store::rows::{Reads, Rows};
use crate::store::{PasswordPrecondition, Precondition, Result, StoreError};

impl Precondition {
    /// Adds the rows that [`Self::check`] reads.
    pub(super) fn declare(&self, mut reads: Reads) -> Reads {
        match self {
            Self::NoUsers => reads.counters = true,
            Self::Session(token) => reads.sessions.push(*token),
            Self::Password(precondition) => reads.users.push(precondition.user_id),
        }
        reads
    }

    /// Checks the precondition. Returns the user of a password precondition, with its code used and
    /// its failures reset. The operation writes this user if it succeeds.
    pub(super) fn check(&self, rows: &Rows) -> Result<Option<User>> {
        match self {
            Self::NoUsers if rows.counters()?.users == 0 => Ok(None),
            Self::NoUsers => Err(StoreError::Conflict),
            Self::Session(token) => match rows.session(token)? {
                Some(_) => Ok(None),
                None => Err(StoreError::Conflict),
            },
            Self::Password(precondition) => precondition.check(rows).map(Some),
        }
    }
}

impl PasswordPrecondition {
    /// Declares the rows that [`Self::check`] reads.
    pub(super) fn reads(&self) -> Reads {
        Reads::user(self.user_id)
    }

    /// Checks the precondition. Returns its user, with the code used and the failures reset.
    pub(super) fn check(&self, rows: &Rows) -> Result<User> {
        let mut user = rows.user(self.user_id)?.ok_or(StoreError::Conflict)?;
        if user.password != self.record || user.generation != self.generation {
            return Err(StoreError::Conflict);
        }
        let is_accepted = match (&mut user.second_factor, &self.code) {
            (None, None) => true,
            (Some(factor), Some(code)) => factor.take(code),
            _ => false,
        };
        if !is_accepted {
            return Err(StoreError::Conflict);
        }
        user.failures = Failures::default();
        Ok(user)
    }
}
