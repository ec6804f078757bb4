//! Import of users, in parts: sled needs much memory for a large batch and may hang on it.
//!
//! The first part records that an import is in progress. The last part removes that record and
//! counts the users. Nothing else is written between two parts, so each part reads the tree
//! directly.
//!
//! An import that ends before its last part, because it fails, is interrupted (Ctrl-C, or a client
//! of the control socket that has gone) or the process ends, is rolled back, if need be by the next
//! start. Look-ups may see some of its users meanwhile. No other change can have happened to them.

use std::collections::HashSet;
use std::sync::Arc;

use super::group::Writes;
use super::lookup::Lookup as _;
use super::{engine_error, records};
use crate::model::{Session, User, UserId};
use crate::store::{ImportBatch, ImportProgress, NextIds, Result, StoreError};

/// Maximum number of users and sessions in one part.
const PART: usize = 256;

/// Import in progress.
pub(super) struct Importing {
    before: NextIds,
    after: NextIds,
    users: Vec<User>,
    sessions: Vec<Session>,
    hash_key: Option<Vec<u8>>,
    total_users: u64,
    imported_tokens: u64,
    progress: Arc<ImportProgress>,
}

impl From<ImportBatch> for Importing {
    fn from(batch: ImportBatch) -> Self {
        let imported = batch.users.iter().filter(|user| user.has_imported_tokens());
        Self {
            total_users: batch.users.len() as u64,
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
    /// Checks that the users can be imported, and records that an import is in progress.
    pub(super) fn begin(&self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let Self { before, after, .. } = self;
        // A new hash key would invalidate the keyed hashes of existing users.
        let is_hash_key_too_late = self.hash_key.is_some() && before.user > 1;
        if tree.next_ids()? != *before || is_hash_key_too_late {
            return Err(StoreError::Conflict);
        }
        for user in &self.users {
            let is_new_id = (before.user..after.user).contains(&user.id);
            if !is_new_id || !is_new(tree, user)? {
                return Err(StoreError::Conflict);
            }
        }
        writes.set_number(records::IMPORT_IN_PROGRESS.into(), Some(before.user));
        Ok(())
    }

    /// Returns whether the import must stop.
    pub(super) fn is_interrupted(&self) -> bool {
        self.progress.is_interrupted()
    }

    /// Writes the next part. Returns `false` if no part was left.
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
            let is_taken = tree.session(&session.token)?.is_some();
            // A token must authenticate a single user.
            if !is_taken && tokens.insert(session.token) {
                // A dead session of a deleted user may not be swept yet.
                let old = tree.session_record(&session.token)?;
                writes.session(old.as_ref(), Some(&session))?;
            }
        }
        let remaining = self.users.len() as u64;
        self.progress.set_users(self.total_users - remaining);
        Ok(is_part)
    }

    /// Completes the import after all parts are written.
    pub(super) fn end(&mut self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let users = tree.user_count()? + self.total_users;
        writes.set_number(records::USER_COUNT.into(), Some(users));
        writes.set_number(records::NEXT_USER_ID.into(), Some(self.after.user));
        writes.set_number(records::NEXT_TOKEN_ID.into(), Some(self.after.api_token));
        let tokens = tree.number(records::IMPORTED_TOKENS)?.unwrap_or(0);
        let tokens = tokens + self.imported_tokens;
        writes.set_number(records::IMPORTED_TOKENS.into(), Some(tokens));
        if let Some(sealed) = self.hash_key.take() {
            writes.set(records::HASH_KEY.into(), Some(sealed));
        }
        writes.set(records::IMPORT_IN_PROGRESS.into(), None);
        Ok(())
    }
}

/// Returns whether no existing user has the name or the origin of a user.
fn is_new(tree: &::sled::Tree, user: &User) -> Result<bool> {
    let is_imported = match user.origin {
        Some(origin) => match tree.number(&records::origin_key(origin))? {
            Some(id) => tree.user(id)?.is_some(),
            None => false,
        },
        None => false,
    };
    Ok(!is_imported && tree.id_of(&user.username)?.is_none())
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

/// Rolls back a part of an incomplete import. Returns `false` if no import is in progress.
pub(super) fn roll_back(tree: &::sled::Tree, writes: &mut Writes) -> Result<bool> {
    let Some(first) = tree.number(records::IMPORT_IN_PROGRESS)? else {
        return Ok(false);
    };
    let from = records::user_sessions_prefix(first);
    let last = records::user_sessions_prefix(UserId::MAX);
    let mut removed = 0;
    for entry in tree.range(from..=last).take(PART) {
        let (key, _) = entry.map_err(engine_error)?;
        let token = records::token_of_any_user_session_key(&key)?;
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
        writes.set(records::IMPORT_IN_PROGRESS.into(), None);
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
