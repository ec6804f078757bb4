//! Users who come from elsewhere, in parts: sled takes much memory for a large
//! batch, and may hang on it. The first part notes that they are on their way;
//! what comes to an end before the last one is taken back.

use std::sync::Arc;

use super::Group;
use crate::model::{Session, User, UserId};
use crate::store::sled::{engine_error, lookup::Lookup as _, records};
use crate::store::{ImportBatch, ImportProgress, NextIds, Result, StoreError};

/// Users and sessions in one part.
const PART: usize = 256;

/// Users on their way in.
pub(in crate::store::sled) struct Importing {
    before: NextIds,
    after: NextIds,
    users: Vec<User>,
    sessions: Vec<Session>,
    hash_key: Option<Vec<u8>>,
    users_in_all: u64,
    imported_tokens: u64,
    progress: Arc<ImportProgress>,
}

impl From<ImportBatch> for Importing {
    fn from(batch: ImportBatch) -> Self {
        let imported = batch.users.iter().filter(|user| user.has_imported_tokens());
        Self {
            users_in_all: batch.users.len() as u64,
            imported_tokens: imported.count() as u64,
            before: batch.before,
            after: batch.after,
            users: batch.users,
            sessions: batch.sessions,
            hash_key: batch.hash_key,
            progress: batch.progress,
        }
    }
}

impl Importing {
    /// Whether they can come; notes that they do.
    pub(in crate::store::sled) fn begin(&self, group: &mut Group<'_>) -> Result<()> {
        let Self { before, after, .. } = self;
        // Their codes are hashed with it: nobody else's may be.
        let brings_key_too_late = self.hash_key.is_some() && before.user > 1;
        if group.next_ids()? != *before || brings_key_too_late {
            return Err(StoreError::Conflict);
        }
        for user in &self.users {
            let is_new_id = (before.user..after.user).contains(&user.id);
            if !is_new_id || !group.can_come(user)? {
                return Err(StoreError::Conflict);
            }
        }
        group.put_number(records::ARRIVING.into(), before.user);
        Ok(())
    }

    /// Whether they are to come no more.
    pub(in crate::store::sled) fn is_interrupted(&self) -> bool {
        self.progress.is_interrupted()
    }

    /// Lets the next ones in; `false` where all have come.
    pub(in crate::store::sled) fn part(&mut self, group: &mut Group<'_>) -> Result<bool> {
        let users = self.users.len().saturating_sub(PART);
        let users = self.users.split_off(users);
        let sessions = self.sessions.len().saturating_sub(PART - users.len());
        let sessions = self.sessions.split_off(sessions);
        let came = !users.is_empty() || !sessions.is_empty();
        for user in users {
            group.put_arrival(&user)?;
        }
        for session in sessions {
            group.put_session_of_arrival(&session)?;
        }
        let left = self.users.len() as u64;
        self.progress.set_users(self.users_in_all - left);
        Ok(came)
    }

    /// All are in.
    pub(in crate::store::sled) fn end(&mut self, group: &mut Group<'_>) -> Result<()> {
        let users = group.user_count()? + self.users_in_all;
        group.put_number(records::USER_COUNT.into(), users);
        group.put_number(records::NEXT_USER_ID.into(), self.after.user);
        group.put_number(records::NEXT_TOKEN_ID.into(), self.after.api_token);
        let tokens = group.number(records::IMPORTED_TOKENS)?.unwrap_or(0);
        let tokens = tokens + self.imported_tokens;
        group.put_number(records::IMPORTED_TOKENS.into(), tokens);
        if let Some(sealed) = self.hash_key.take() {
            group.set_hash_key(sealed);
        }
        group.remove(records::ARRIVING.into());
        Ok(())
    }
}

impl Group<'_> {
    fn can_come(&self, user: &User) -> Result<bool> {
        let is_here = match user.origin {
            Some(origin) => match self.number(&records::origin_key(origin))? {
                Some(id) => self.user(id)?.is_some(),
                None => false,
            },
            None => false,
        };
        Ok(!is_here && self.id_of(&user.username)?.is_none())
    }

    fn put_arrival(&mut self, user: &User) -> Result<()> {
        self.put_number(records::name_key(&user.username), user.id);
        if let Some(origin) = user.origin {
            self.put_number(records::origin_key(origin), user.id);
        }
        for name in &user.token_names {
            self.put(records::token_name_key(name, user.id), Vec::new());
        }
        self.put_user(user)
    }

    fn put_session_of_arrival(&mut self, session: &Session) -> Result<()> {
        if self.session(&session.token)?.is_some() {
            // Somebody has it: not for two.
            return Ok(());
        }
        // One of a user who is gone may not be swept yet.
        if let Some(old) = self.session_record(&session.token)? {
            self.remove_session(&old);
        }
        let record = records::encode_session(session)?;
        self.put(records::session_key(&session.token), record);
        self.put(records::user_session_key(session), Vec::new());
        Ok(())
    }

    /// Takes some of those back who have not all come; `false` where nobody is
    /// on the way.
    pub(in crate::store::sled) fn take_back(&mut self) -> Result<bool> {
        let Some(first) = self.number(records::ARRIVING)? else {
            return Ok(false);
        };
        let from = records::user_sessions(first);
        let last = records::user_sessions(UserId::MAX);
        let mut taken = 0;
        for entry in self.tree.range(from..=last).take(PART) {
            let (key, _) = entry.map_err(engine_error)?;
            let token = records::token_of_user_sessions(&key)?;
            self.remove(records::session_key(&token));
            self.remove(key.to_vec());
            taken += 1;
        }
        let users = records::user_key(first)..=records::user_key(UserId::MAX);
        for entry in self.tree.range(users).take(PART - taken) {
            let (key, bytes) = entry.map_err(engine_error)?;
            let id = records::number(&key[records::USERS.len()..])?;
            let user = records::decode_user(id, &bytes)?;
            self.take_back_user(&user);
            taken += 1;
        }
        if taken == 0 {
            self.remove(records::ARRIVING.into());
        }
        Ok(true)
    }

    fn take_back_user(&mut self, user: &User) {
        self.remove(records::name_key(&user.username));
        if let Some(origin) = user.origin {
            self.remove(records::origin_key(origin));
        }
        for name in &user.token_names {
            self.remove(records::token_name_key(name, user.id));
        }
        self.remove(records::user_key(user.id));
    }
}
