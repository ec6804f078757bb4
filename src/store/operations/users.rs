//! Operations on users and their passwords.

use super::Operation;
use crate::model::{Failures, PasswordRecord, User, UserId};
use crate::store::rows::{Reads, Rows};
use crate::store::{AdminUpdate, NewUser, PasswordPrecondition, Precondition, Result, StoreError};

/// Creates a user under the next id.
pub struct CreateUser {
    pub(in crate::store) user: NewUser,
    pub(in crate::store) precondition: Precondition,
}

impl Operation for CreateUser {
    type Output = User;

    fn reads(&self) -> Reads {
        let mut reads = Reads {
            counters: true,
            names: vec![self.user.username.clone()],
            ..Reads::default()
        };
        self.precondition.declare(&mut reads);
        reads
    }

    fn apply(&self, rows: &mut Rows) -> Result<User> {
        let executor = self.precondition.check(rows)?;
        let new = &self.user;
        if rows.id_of(&new.username)?.is_some() {
            return Err(StoreError::NameTaken);
        }
        let id = rows.take_user_id()?;
        rows.change_counters(|counters| counters.users += 1)?;
        if let Some(executor) = executor {
            rows.put_user_if_changed(executor)?;
        }
        let user = User::new(
            id,
            new.username.clone(),
            new.created_at,
            new.password.clone(),
        );
        rows.names.put(user.username.clone(), id);
        rows.put_user(user.clone());
        Ok(user)
    }
}

/// Deletes a user with all its data. Its sessions are dead without the user; the sweeper removes
/// them.
pub struct DeleteUser {
    pub(in crate::store) username: String,
    pub(in crate::store) precondition: Precondition,
}

impl Operation for DeleteUser {
    type Output = UserId;

    fn reads(&self) -> Reads {
        let mut reads = Reads {
            counters: true,
            names: vec![self.username.clone()],
            ..Reads::default()
        };
        self.precondition.declare(&mut reads);
        reads
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

/// Replaces the password of a user, given its current password.
pub struct SetPassword {
    pub(in crate::store) precondition: PasswordPrecondition,
    pub(in crate::store) password: PasswordRecord,
    pub(in crate::store) revoke_sessions: bool,
}

impl Operation for SetPassword {
    type Output = User;

    fn reads(&self) -> Reads {
        self.precondition.reads()
    }

    fn apply(&self, rows: &mut Rows) -> Result<User> {
        let mut user = self.precondition.check(rows)?;
        user.password = self.password.clone();
        if self.revoke_sessions {
            user.generation += 1;
        }
        rows.put_user(user.clone());
        Ok(user)
    }
}

/// Replaces a password record with a record of the same password at another cost.
pub struct ReplacePasswordRecord {
    pub(in crate::store) user_id: UserId,
    pub(in crate::store) from: PasswordRecord,
    pub(in crate::store) to: PasswordRecord,
}

impl Operation for ReplacePasswordRecord {
    type Output = ();

    fn reads(&self) -> Reads {
        Reads {
            users: vec![self.user_id],
            ..Reads::default()
        }
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

/// Records a successful authentication. It usually changes nothing.
pub struct Accept {
    pub(in crate::store) precondition: PasswordPrecondition,
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

/// Changes a user on behalf of the operator, without a password of the user.
pub struct UpdateUser {
    pub(in crate::store) username: String,
    pub(in crate::store) update: AdminUpdate,
}

impl Operation for UpdateUser {
    type Output = User;

    fn reads(&self) -> Reads {
        Reads {
            counters: true,
            names: vec![self.username.clone()],
            ..Reads::default()
        }
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
