//! Users who are imported, in parts: sled takes much memory for a large batch, and may hang on it.
//! The first part notes that an import is under way; what ends before the last part is rolled back.
//!
//! Nothing else is written between two parts, so that they read the tree itself.

use std::collections::HashSet;
use std::sync::Arc;

use super::group::Writes;
use super::lookup::Lookup as _;
use super::{engine_error, records};
use crate::model::{Session, User, UserId};
use crate::store::{ImportBatch, ImportProgress, NextIds, Result, StoreError};

/// Users and sessions in one part.
const PART: usize = 256;

/// An import under way.
pub(super) struct Importing {
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
    /// Checks that the users can be imported, and notes that an import is under way.
    pub(super) fn begin(&self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let Self { before, after, .. } = self;
        // Their codes are hashed with the key: no other user's may be.
        let brings_key_too_late = self.hash_key.is_some() && before.user > 1;
        if tree.next_ids()? != *before || brings_key_too_late {
            return Err(StoreError::Conflict);
        }
        for user in &self.users {
            let is_new_id = (before.user..after.user).contains(&user.id);
            if !is_new_id || !is_new(tree, user)? {
                return Err(StoreError::Conflict);
            }
        }
        writes.set_number(records::ARRIVING.into(), Some(before.user));
        Ok(())
    }

    /// Returns whether the import was asked to stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.progress.is_interrupted()
    }

    /// Writes the next part. Returns `false` where there was none left.
    pub(super) fn part(&mut self, tree: &::sled::Tree, writes: &mut Writes) -> Result<bool> {
        let users = self.users.len().saturating_sub(PART);
        let users = self.users.split_off(users);
        let sessions = self.sessions.len().saturating_sub(PART - users.len());
        let sessions = self.sessions.split_off(sessions);
        let is_part = !users.is_empty() || !sessions.is_empty();
        for user in users {
            put_user(&user, writes)?;
        }
        let mut tokens = HashSet::new();
        for session in sessions {
            let is_held = tree.session(&session.token)?.is_some();
            // One token authenticates one user.
            if !is_held && tokens.insert(session.token) {
                // A session of a user who is gone may not be swept yet.
                let old = tree.session_record(&session.token)?;
                writes.session(old.as_ref(), Some(&session))?;
            }
        }
        let left = self.users.len() as u64;
        self.progress.set_users(self.users_in_all - left);
        Ok(is_part)
    }

    /// Ends the import: all parts are written.
    pub(super) fn end(&mut self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let users = tree.user_count()? + self.users_in_all;
        writes.set_number(records::USER_COUNT.into(), Some(users));
        writes.set_number(records::NEXT_USER_ID.into(), Some(self.after.user));
        writes.set_number(records::NEXT_TOKEN_ID.into(), Some(self.after.api_token));
        let tokens = tree.number(records::IMPORTED_TOKENS)?.unwrap_or(0);
        let tokens = tokens + self.imported_tokens;
        writes.set_number(records::IMPORTED_TOKENS.into(), Some(tokens));
        if let Some(sealed) = self.hash_key.take() {
            writes.set(records::HASH_KEY.into(), Some(sealed));
        }
        writes.set(records::ARRIVING.into(), None);
        Ok(())
    }
}

/// Whether neither the name nor the origin of a user is here.
fn is_new(tree: &::sled::Tree, user: &User) -> Result<bool> {
    let is_here = match user.origin {
        Some(origin) => match tree.number(&records::origin_key(origin))? {
            Some(id) => tree.user(id)?.is_some(),
            None => false,
        },
        None => false,
    };
    Ok(!is_here && tree.id_of(&user.username)?.is_none())
}

fn put_user(user: &User, writes: &mut Writes) -> Result<()> {
    writes.set_number(records::name_key(&user.username), Some(user.id));
    if let Some(origin) = user.origin {
        writes.set_number(records::origin_key(origin), Some(user.id));
    }
    for name in &user.token_names {
        writes.set(records::token_name_key(name, user.id), Some(Vec::new()));
    }
    writes.set(
        records::user_key(user.id),
        Some(records::encode_user(user)?),
    );
    Ok(())
}

/// Rolls back a part of an import that was not complete. Returns `false` where none is under way.
pub(super) fn roll_back(tree: &::sled::Tree, writes: &mut Writes) -> Result<bool> {
    let Some(first) = tree.number(records::ARRIVING)? else {
        return Ok(false);
    };
    let from = records::user_sessions(first);
    let last = records::user_sessions(UserId::MAX);
    let mut removed = 0;
    for entry in tree.range(from..=last).take(PART) {
        let (key, _) = entry.map_err(engine_error)?;
        let token = records::token_of_user_sessions(&key)?;
        writes.stale.tokens.push(token);
        writes.set(records::session_key(&token), None);
        writes.set(key.to_vec(), None);
        removed += 1;
    }
    let users = records::user_key(first)..=records::user_key(UserId::MAX);
    for entry in tree.range(users).take(PART - removed) {
        let (key, bytes) = entry.map_err(engine_error)?;
        let id = records::number(&key[records::USERS.len()..])?;
        remove_user(&records::decode_user(id, &bytes)?, writes);
        removed += 1;
    }
    if removed == 0 {
        writes.set(records::ARRIVING.into(), None);
    }
    Ok(true)
}

fn remove_user(user: &User, writes: &mut Writes) {
    writes.stale.users.push(user.id);
    writes.set(records::name_key(&user.username), None);
    if let Some(origin) = user.origin {
        writes.set(records::origin_key(origin), None);
    }
    for name in &user.token_names {
        writes.set(records::token_name_key(name, user.id), None);
    }
    writes.set(records::user_key(user.id), None);
}
