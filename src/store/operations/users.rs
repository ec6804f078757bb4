//! Operations on users and their passwords.

use super::Operation;
use crate::clock::Timestamp;
use crate::model::{Failures, PasswordRecord, User, UserId};
use crate::store::rows::{Reads, Rows};
use crate::store::{AdminUpdate, PasswordPrecondition, Precondition, Result, StoreError};

/// Creates a user under the next id and returns it. `NameTaken` uses no id.
#[derive(Debug, Clone)]
pub struct CreateUser {
    /// Name of the user.
    pub username: String,
    /// Creation time.
    pub created_at: Timestamp,
    /// Hashed password.
    pub password: PasswordRecord,
    /// What allows the creation.
    pub precondition: Precondition,
}

impl Operation for CreateUser {
    type Output = User;

    fn reads(&self) -> Reads {
        let reads = Reads::name(&self.username).with_counters();
        self.precondition.declare(reads)
    }

    fn apply(&self, rows: &mut Rows) -> Result<User> {
        let executor = self.precondition.check(rows)?;
        if rows.id_of(&self.username)?.is_some() {
            return Err(StoreError::NameTaken);
        }
        let id = rows.take_user_id()?;
        rows.change_counters(|counters| counters.users += 1)?;
        if let Some(executor) = executor {
            rows.put_user_if_changed(executor)?;
        }
        let (username, password) = (self.username.clone(), self.password.clone());
        let user = User::new(id, username, self.created_at, password);
        rows.names.put(user.username.clone(), id);
        rows.put_user(user.clone());
        Ok(user)
    }
}

/// Deletes a user with all its data and returns its id. Its sessions are dead without the user; the
/// sweeper removes them.
pub struct DeleteUser {
    /// Name of the user.
    pub username: String,
    /// What allows the deletion.
    pub precondition: Precondition,
}

impl Operation for DeleteUser {
    type Output = UserId;

    fn reads(&self) -> Reads {
        let reads = Reads::name(&self.username).with_counters();
        self.precondition.declare(reads)
    }

    fn apply(&self, rows: &mut Rows) -> Result<UserId> {
        let executor = self.precondition.check(rows)?;
        let id = rows.id_of(&self.username)?.ok_or(StoreError::NoSuchUser)?;
        // Before the removal, because users may delete themselves.
        if let Some(executor) = executor {
            rows.put_user_if_changed(executor)?;
        }
        if let Some(user) = rows.user(id)? {
            rows.count_imported_tokens(Some(&user), None)?;
            rows.remove_token_names(&user);
        }
        rows.users.remove(id);
        rows.names.remove(self.username.clone());
        rows.change_counters(|counters| counters.users = counters.users.saturating_sub(1))?;
        Ok(id)
    }
}

/// Replaces the password of the precondition's user and returns the changed user.
pub struct SetPassword {
    /// The user's current password.
    pub precondition: PasswordPrecondition,
    /// New hashed password.
    pub password: PasswordRecord,
    /// Whether all sessions of the user end in the same step.
    pub revoke_sessions: bool,
}

impl Operation for SetPassword {
    type Output = User;

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<User> {
        let mut user = self.precondition.check(rows)?;
        user.password = self.password.clone();
        user.generation += u64::from(self.revoke_sessions);
        rows.put_user(user.clone());
        Ok(user)
    }
}

/// Replaces a password record with a record of the same password at another cost. `Conflict` if the
/// user's record is no longer `from`.
pub struct ReplacePasswordRecord {
    /// Id of the user.
    pub user_id: UserId,
    /// The record that was checked.
    pub from: PasswordRecord,
    /// The new record.
    pub to: PasswordRecord,
}

impl Operation for ReplacePasswordRecord {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads::user(self.user_id)
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let user = rows.user(self.user_id)?;
        let mut user = user
            .filter(|user| user.password == self.from)
            .ok_or(StoreError::Conflict)?;
        user.password = self.to.clone();
        rows.put_user(user);
        Ok(())
    }
}

/// Records a successful authentication: marks the precondition's code as used, so that it is never
/// accepted again, and resets the user's failures.
///
/// Every other operation with a password precondition does the same. If nothing changes, nothing is
/// written and no outcome is recorded.
pub struct Accept {
    /// The password and code that were accepted.
    pub precondition: PasswordPrecondition,
}

impl Operation for Accept {
    type Output = ();

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<()> {
        let user = self.precondition.check(rows)?;
        rows.put_user_if_changed(user)
    }
}

/// Changes a user on behalf of the operator, without a precondition, and returns it.
pub struct UpdateUser {
    /// Name of the user.
    pub username: String,
    /// The change.
    pub update: AdminUpdate,
}

impl Operation for UpdateUser {
    type Output = User;

    fn reads(&self) -> Reads {
        Reads::name(&self.username).with_counters()
    }

    fn apply(&self, rows: &mut Rows) -> Result<User> {
        let user = rows.user_named(&self.username)?;
        let mut user = user.ok_or(StoreError::NoSuchUser)?;
        let mut keep_api_tokens = true;
        match &self.update {
            AdminUpdate::DropSecondFactor => user.set_second_factor(None),
            AdminUpdate::EndSessions => user.generation += 1,
            AdminUpdate::DropApiTokens => keep_api_tokens = false,
            AdminUpdate::ResetPassword {
                record,
                keep_api_tokens: keep,
            } => {
                user.password = record.clone();
                user.generation += 1;
                user.failures = Failures::default();
                keep_api_tokens = *keep;
            }
        }
        if keep_api_tokens {
            rows.put_user_if_changed(user.clone())?;
        } else {
            user.api_tokens = Vec::new();
            rows.put_tokens_of(user.clone())?;
        }
        Ok(user)
    }
}
