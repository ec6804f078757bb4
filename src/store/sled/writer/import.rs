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

use super::{Disk, Progress, write_group};
use crate::model::{User, UserId};
use crate::store::sled::group::Writes;
use crate::store::sled::lookup::Lookup as _;
use crate::store::sled::{engine_error, records, scan};
use crate::store::{Counters, ImportBatch, Result, StoreError};

/// Maximum number of users and sessions in one part.
const PART: usize = 256;

/// Imports users part by part, and rolls back if a part fails.
pub(super) fn import(
    disk: &mut Disk,
    batch: ImportBatch,
    progress: &Progress,
) -> std::result::Result<Result<()>, String> {
    let mut importing = Importing::new(batch);
    let begun = commit_part(disk, progress, |tree, writes| importing.begin(tree, writes))?;
    let mut has_more = begun.map(|()| true);
    while let Ok(true) = has_more {
        has_more = if importing.batch.progress.is_interrupted() {
            Err(StoreError::Interrupted)
        } else {
            commit_part(disk, progress, |tree, writes| importing.part(tree, writes))?
        };
    }
    if has_more.is_err() {
        finish_roll_back(disk, progress)?;
    }
    Ok(has_more.map(|_| ()))
}

/// Rolls back an incomplete import. It only removes records, for which the reserved disk space
/// suffices. If it fails, the process must end, because a remaining user would share its id with
/// the next one.
fn finish_roll_back(disk: &mut Disk, progress: &Progress) -> std::result::Result<(), String> {
    loop {
        match commit_alone(disk, progress, roll_back)? {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(format!("rolling an import back failed: {error}")),
        }
    }
}

/// Commits a part of an import, unless the disk has too little free space.
fn commit_part<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    match disk.check_free_space() {
        Ok(()) => commit_alone(disk, progress, part),
        Err(full) => Ok(Err(full)),
    }
}

/// Commits writes as a group of their own, unless `part` fails.
fn commit_alone<T>(
    disk: &mut Disk,
    progress: &Progress,
    part: impl FnOnce(&::sled::Tree, &mut Writes) -> Result<T>,
) -> std::result::Result<Result<T>, String> {
    progress.set_busy(true);
    let mut writes = Writes::default();
    let result = part(&disk.tree, &mut writes);
    if result.is_ok() && writes.has_changes {
        write_group(disk, writes, progress)?;
    }
    progress.set_busy(false);
    Ok(result)
}

/// Import in progress. Its parts are taken from the batch.
struct Importing {
    batch: ImportBatch,
    total_users: u64,
    imported_tokens: u64,
}

impl Importing {
    fn new(batch: ImportBatch) -> Self {
        let imported = batch.users.iter().filter(|user| user.has_imported_tokens());
        Self {
            total_users: batch.users.len() as u64,
            imported_tokens: imported.count() as u64,
            batch,
        }
    }

    /// Checks that the users can be imported, and records that an import is in progress.
    fn begin(&self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let ImportBatch { before, after, .. } = &self.batch;
        // A new hash key would invalidate the keyed hashes of existing users.
        let is_hash_key_too_late = self.batch.hash_key.is_some() && before.user > 1;
        if tree.counters()?.next != *before || is_hash_key_too_late {
            return Err(StoreError::Conflict);
        }
        for user in &self.batch.users {
            let is_new_id = (before.user..after.user).contains(&user.id);
            if !is_new_id || !is_new(tree, user)? {
                return Err(StoreError::Conflict);
            }
        }
        writes.set_number(records::IMPORT_IN_PROGRESS.into(), Some(before.user));
        Ok(())
    }

    /// Writes the next part, or completes the import and returns `false` if no part is left.
    fn part(&mut self, tree: &::sled::Tree, writes: &mut Writes) -> Result<bool> {
        let batch = &mut self.batch;
        let users = batch.users.len().saturating_sub(PART);
        let users = batch.users.split_off(users);
        let sessions = batch.sessions.len().saturating_sub(PART - users.len());
        let sessions = batch.sessions.split_off(sessions);
        if users.is_empty() && sessions.is_empty() {
            self.end(tree, writes)?;
            return Ok(false);
        }
        for user in users {
            let record = records::encode_user(&user)?;
            write_user(&user, Some(record), writes);
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
        let remaining = batch.users.len() as u64;
        batch.progress.set_users(self.total_users - remaining);
        Ok(true)
    }

    /// Completes the import after all parts are written.
    fn end(&mut self, tree: &::sled::Tree, writes: &mut Writes) -> Result<()> {
        let before = tree.counters()?;
        let after = Counters {
            next: self.batch.after,
            users: before.users + self.total_users,
            imported_tokens: before.imported_tokens + self.imported_tokens,
            ..before
        };
        writes.counters(Some(&before), &after);
        if let Some(sealed) = self.batch.hash_key.take() {
            writes.set(records::HASH_KEY.into(), Some(sealed));
        }
        writes.set(records::IMPORT_IN_PROGRESS.into(), None);
        Ok(())
    }
}

/// Returns whether no existing user has the name or the origin of a user.
fn is_new(tree: &::sled::Tree, user: &User) -> Result<bool> {
    let imported = match user.origin {
        Some(origin) => tree.by_origin(origin)?,
        None => None,
    };
    let is_imported = imported.is_some_and(|(_, user)| user.is_some());
    Ok(!is_imported && tree.id_of(&user.username)?.is_none())
}

/// Writes a user and its entries in the indexes, or removes them if `record` is `None`.
fn write_user(user: &User, record: Option<Vec<u8>>, writes: &mut Writes) {
    let id = record.is_some().then_some(user.id);
    writes.set_number(records::name_key(&user.username), id);
    if let Some(origin) = user.origin {
        writes.set_number(records::origin_key(origin), id);
    }
    for name in &user.token_names {
        let key = records::token_name_key(name, user.id);
        writes.set(key, id.map(|_| Vec::new()));
    }
    writes.set(records::user_key(user.id), record);
}

/// Rolls back a part of an incomplete import. Returns `false` if no import is in progress.
pub(in crate::store::sled) fn roll_back(tree: &::sled::Tree, writes: &mut Writes) -> Result<bool> {
    let Some(first) = tree.number(records::IMPORT_IN_PROGRESS)? else {
        return Ok(false);
    };
    let from = records::user_sessions_prefix(first);
    let last = records::user_sessions_prefix(UserId::MAX);
    let mut removed = 0;
    for entry in tree.range(from..=last).take(PART) {
        let (key, _) = entry.map_err(engine_error)?;
        let token = records::token_of_user_session_key(&key)?;
        writes.stale.tokens.push(token);
        writes.set(records::session_key(&token), None);
        writes.set(key.to_vec(), None);
        removed += 1;
    }
    for entry in scan::user_records(tree, first).take(PART - removed) {
        let (id, bytes) = entry?;
        writes.stale.users.push(id);
        write_user(&records::decode_user(id, &bytes)?, None, writes);
        removed += 1;
    }
    if removed == 0 {
        writes.set(records::IMPORT_IN_PROGRESS.into(), None);
    }
    Ok(true)
}
