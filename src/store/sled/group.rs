//! A group of operations that becomes durable as one: what they change is
//! collected here, seen by the operations behind them, and written as one
//! atomic batch.
//!
//! Every operation checks first and changes after, so that one that fails
//! leaves nothing behind in the group.

mod api_tokens;
mod attempts;
mod import;
mod stale;

pub(super) use self::import::Importing;

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::clock::Timestamp;
use crate::model::{
    CodeHash, DeliveryId, Failures, PasswordRecord, SecondFactor, Session, SessionRules, TokenHash,
    User, UserId,
};
use crate::store::sled::{lookup::Lookup, records};
use crate::store::{
    AdminUpdate, NewSession, NewUser, Outcome, PasswordPrecondition, Precondition, Resealed,
    Result, SealedItem, StoreError,
};

pub(super) struct Group<'a> {
    tree: &'a ::sled::Tree,
    changes: HashMap<Vec<u8>, Option<::sled::IVec>>,
    /// How many changes were made: more than are left, when a key is changed
    /// twice.
    count: u64,
    /// Most names of nobody whose failures are kept.
    max_attempted: u64,
}

impl<'a> Group<'a> {
    pub(super) fn new(tree: &'a ::sled::Tree, max_attempted: u64) -> Self {
        Self {
            tree,
            changes: HashMap::new(),
            count: 0,
            max_attempted,
        }
    }

    /// Whether anything is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The batch to write, stamped with the group's number.
    pub(super) fn into_batch(self, commit: u64) -> ::sled::Batch {
        let mut batch = ::sled::Batch::default();
        for (key, value) in self.changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch.insert(records::COMMIT, &commit.to_be_bytes());
        batch
    }

    /// Runs an operation and, if it changed anything, leaves its outcome.
    pub(super) fn run<T>(
        &mut self,
        outcome: Option<Outcome<T>>,
        operation: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = self.count;
        let result = operation(self)?;
        if let Some(outcome) = outcome
            && self.count > before
        {
            let record = (outcome.record)(&result);
            self.put(records::outcome_key(&outcome.delivery), record);
        }
        Ok(result)
    }

    pub(super) fn forget_outcomes(&mut self, deliveries: &[DeliveryId]) -> Result<()> {
        for delivery in deliveries {
            let key = records::outcome_key(delivery);
            if self.get(&key)?.is_some() {
                self.remove(key);
            }
        }
        Ok(())
    }

    pub(super) fn set_hash_key(&mut self, sealed: Vec<u8>) {
        self.put(records::HASH_KEY.into(), sealed);
    }

    pub(super) fn create_user(
        &mut self,
        new: NewUser,
        precondition: &Precondition,
    ) -> Result<User> {
        let asker = self.check(precondition)?;
        if self.id_of(&new.username)?.is_some() {
            return Err(StoreError::NameTaken);
        }
        let id = self.next_ids()?.user;
        let count = self.user_count()?;
        let user = User::new(id, new.username, new.created_at, new.password);
        let record = records::encode_user(&user)?;
        self.put_asker(asker)?;
        self.put(records::user_key(id), record);
        self.put_number(records::name_key(&user.username), id);
        self.put_number(records::NEXT_USER_ID.into(), id + 1);
        self.put_number(records::USER_COUNT.into(), count + 1);
        Ok(user)
    }

    pub(super) fn set_password(
        &mut self,
        precondition: &PasswordPrecondition,
        password: PasswordRecord,
        revoke_sessions: bool,
    ) -> Result<User> {
        let mut user = self.check_password(precondition)?;
        user.password = password;
        if revoke_sessions {
            user.generation += 1;
        }
        self.put_user(&user)?;
        Ok(user)
    }

    pub(super) fn replace_password_record(
        &mut self,
        user_id: UserId,
        from: &PasswordRecord,
        to: PasswordRecord,
    ) -> Result<()> {
        match self.user(user_id)? {
            Some(mut user) if user.password == *from => {
                user.password = to;
                self.put_user(&user)
            }
            _ => Err(StoreError::Conflict),
        }
    }

    /// Most logins change nothing, and then write nothing.
    pub(super) fn accept(&mut self, precondition: &PasswordPrecondition) -> Result<()> {
        let user = self.check_password(precondition)?;
        self.put_user_if_changed(&user)
    }

    pub(super) fn set_second_factor(
        &mut self,
        precondition: &PasswordPrecondition,
        second_factor: Option<SecondFactor>,
    ) -> Result<()> {
        let mut user = self.check_password(precondition)?;
        user.set_second_factor(second_factor);
        self.put_user(&user)
    }

    pub(super) fn replace_backup_codes(
        &mut self,
        precondition: &PasswordPrecondition,
        backup_codes: Vec<CodeHash>,
    ) -> Result<()> {
        let mut user = self.check_password(precondition)?;
        let factor = user.second_factor.as_mut().ok_or(StoreError::Conflict)?;
        factor.backup_codes = backup_codes;
        factor.imported_codes = Vec::new();
        self.put_user(&user)
    }

    pub(super) fn delete_user(
        &mut self,
        username: &str,
        precondition: &Precondition,
    ) -> Result<UserId> {
        let asker = self.check(precondition)?;
        let id = self.id_of(username)?.ok_or(StoreError::NoSuchUser)?;
        let count = self.user_count()?;
        // First, as the user who asks may be the one to go.
        self.put_asker(asker)?;
        if let Some(user) = self.user(id)? {
            self.forget_tokens_of(&user)?;
        }
        self.remove(records::user_key(id));
        self.remove(records::name_key(username));
        self.put_number(records::USER_COUNT.into(), count.saturating_sub(1));
        Ok(id)
    }

    pub(super) fn create_session(
        &mut self,
        new: NewSession,
        precondition: &PasswordPrecondition,
    ) -> Result<(Session, User)> {
        let user = self.check_password(precondition)?;
        let session = Session {
            token: new.token,
            user_id: user.id,
            generation: user.generation,
            created_at: new.created_at,
            expires_at: new.expires_at,
            used_at: new.created_at,
        };
        let record = records::encode_session(&session)?;
        self.put_user_if_changed(&user)?;
        self.put(records::session_key(&session.token), record);
        self.put(records::user_session_key(&session), Vec::new());
        Ok((session, user))
    }

    /// Ends one session of the precondition's user, or all.
    pub(super) fn end_sessions(
        &mut self,
        precondition: &PasswordPrecondition,
        which: Option<TokenHash>,
    ) -> Result<bool> {
        let mut user = self.check_password(precondition)?;
        let ended = match which {
            None => {
                user.generation += 1;
                true
            }
            Some(token) => match self.session(&token)? {
                Some((session, owner)) if owner.id == user.id => {
                    self.remove_session(&session);
                    true
                }
                _ => false,
            },
        };
        // Also when there was no such session: the code is spent.
        self.put_user_if_changed(&user)?;
        Ok(ended)
    }

    /// Removes a session. `false` where nobody could have used it any more.
    pub(super) fn delete_session(
        &mut self,
        token: &TokenHash,
        rules: &SessionRules,
    ) -> Result<bool> {
        // An unknown token must not cost a write: anybody can send one.
        let Some(session) = self.session_record(token)? else {
            return Ok(false);
        };
        self.remove_session(&session);
        let user = self.user(session.user_id)?;
        Ok(user.is_some_and(|user| session.is_valid(&user, rules)))
    }

    pub(super) fn touch_session(
        &mut self,
        token: &TokenHash,
        at: Timestamp,
        step: TimeDelta,
    ) -> Result<()> {
        if let Some(mut session) = self.session_record(token)?
            && session.used_at < at
            && at - session.used_at >= step
        {
            session.used_at = at;
            self.put(
                records::session_key(token),
                records::encode_session(&session)?,
            );
        }
        Ok(())
    }

    pub(super) fn update_user(&mut self, username: &str, update: AdminUpdate) -> Result<User> {
        let id = self.id_of(username)?.ok_or(StoreError::NoSuchUser)?;
        let mut user = self.user(id)?.ok_or(StoreError::NoSuchUser)?;
        match update {
            AdminUpdate::DropSecondFactor => user.set_second_factor(None),
            AdminUpdate::EndSessions => user.generation += 1,
            AdminUpdate::DropApiTokens => {
                user.api_tokens = Vec::new();
                self.put_tokens_of(user.clone())?;
                return Ok(user);
            }
            AdminUpdate::ResetPassword {
                record,
                keep_api_tokens,
            } => {
                user.password = record;
                user.generation += 1;
                user.failures = Failures::default();
                if !keep_api_tokens {
                    user.api_tokens = Vec::new();
                    self.put_tokens_of(user.clone())?;
                    return Ok(user);
                }
            }
        }
        self.put_user_if_changed(&user)?;
        Ok(user)
    }

    pub(super) fn reseal(&mut self, resealed: Resealed) -> Result<()> {
        let Resealed { item, from, to } = resealed;
        let key = match item {
            SealedItem::SecondFactor(id) => {
                if let Some(mut user) = self.user(id)?
                    && let Some(factor) = &mut user.second_factor
                    && factor.secret.0 == from
                {
                    factor.secret.0 = to;
                    self.put_user(&user)?;
                }
                return Ok(());
            }
            SealedItem::HashKey => records::HASH_KEY.into(),
            SealedItem::Outcome(delivery) => records::outcome_key(&delivery),
        };
        if self.get(&key)?.is_some_and(|present| *present == *from) {
            self.put(key, to);
        }
        Ok(())
    }

    /// Removes a session that was found dead, unless it has been used since.
    pub(super) fn remove_dead_session(
        &mut self,
        token: &TokenHash,
        rules: &SessionRules,
    ) -> Result<bool> {
        let Some(session) = self.session_record(token)? else {
            return Ok(false);
        };
        let user = self.user(session.user_id)?;
        let dead = !user.is_some_and(|user| session.is_valid(&user, rules));
        if dead {
            self.remove_session(&session);
        }
        Ok(dead)
    }

    fn remove_session(&mut self, session: &Session) {
        self.remove(records::session_key(&session.token));
        self.remove(records::user_session_key(session));
    }

    /// Compares what the caller had read with what stands here now. Gives
    /// the user whose one-time code is spent with that, to be put when all
    /// checks are done.
    fn check(&self, precondition: &Precondition) -> Result<Option<User>> {
        match precondition {
            Precondition::NoUsers if self.user_count()? == 0 => Ok(None),
            Precondition::NoUsers => Err(StoreError::Conflict),
            Precondition::Session(token) => match self.session(token)? {
                Some(_) => Ok(None),
                None => Err(StoreError::Conflict),
            },
            Precondition::Password(precondition) => {
                let user = self.check_password(precondition)?;
                Ok(Some(user))
            }
        }
    }

    /// The precondition's user after its complete success: with its code taken and
    /// its failures forgotten.
    fn check_password(&self, precondition: &PasswordPrecondition) -> Result<User> {
        let mut user = self
            .user(precondition.user_id)?
            .ok_or(StoreError::Conflict)?;
        if user.password != precondition.record || user.generation != precondition.generation {
            return Err(StoreError::Conflict);
        }
        match (&mut user.second_factor, &precondition.code) {
            (None, None) => {}
            (Some(factor), Some(code)) => {
                if !factor.take(code) {
                    return Err(StoreError::Conflict);
                }
            }
            _ => return Err(StoreError::Conflict),
        }
        user.failures = Failures::default();
        Ok(user)
    }

    /// Writes a user where anything of it is other than what stands there.
    fn put_user_if_changed(&mut self, user: &User) -> Result<()> {
        if self.user(user.id)?.as_ref() == Some(user) {
            return Ok(());
        }
        self.put_user(user)
    }

    fn put_user(&mut self, user: &User) -> Result<()> {
        let record = records::encode_user(user)?;
        self.put(records::user_key(user.id), record);
        Ok(())
    }

    fn put_asker(&mut self, asker: Option<User>) -> Result<()> {
        asker.map_or(Ok(()), |user| self.put_user_if_changed(&user))
    }

    fn put_number(&mut self, key: Vec<u8>, number: u64) {
        self.put(key, number.to_be_bytes().to_vec());
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.count += 1;
        self.changes.insert(key, Some(value.into()));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.count += 1;
        self.changes.insert(key, None);
    }
}

impl Lookup for Group<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<::sled::IVec>> {
        match self.changes.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.tree.get(key).map_err(super::engine_error),
        }
    }
}
