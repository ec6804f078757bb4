//! Group of operations on sled: loads the rows that the operations declare, and collects their
//! changes in one atomic batch.

use std::hash::Hash;
use std::ops::Bound;

use super::lookup::Lookup as _;
use super::session_cache::Stale;
use super::writer::MAX_GROUP;
use super::{engine_error, records};
use crate::model::{Failures, NameHash, Profile, Session, User};
use crate::store::Result;
use crate::store::rows::{Counters, Reads, Rows, Table};

/// Number of unknown names that are loaded for each operation that may evict one, if their table may
/// become full: the operation may evict the oldest name and renew the last attempt of another one.
const OLDEST_FOR_EACH: usize = 2;

/// Rows of a group, loaded on demand.
pub(super) struct Group<'a> {
    tree: &'a ::sled::Tree,
    pub(super) rows: Rows,
    /// Key of the last of the oldest attempts that were loaded.
    last_attempt: Vec<u8>,
}

impl<'a> Group<'a> {
    pub(super) fn new(tree: &'a ::sled::Tree, max_attempted: u64) -> Self {
        Self {
            tree,
            rows: Rows::new(max_attempted),
            last_attempt: records::ATTEMPT_TIMES.into(),
        }
    }

    /// Loads the rows that an operation reads.
    pub(super) fn load(&mut self, reads: &Reads) -> Result<()> {
        let (tree, rows) = (self.tree, &mut self.rows);
        if reads.counters {
            load(&mut rows.counters, &(), || tree.counters().map(Some))?;
        }
        if reads.hash_key {
            load(&mut rows.hash_key, &(), || tree.bytes(records::HASH_KEY))?;
        }
        for name in &reads.names {
            load(&mut rows.names, name, || tree.id_of(name))?;
            if let Some(id) = rows.names.get(name)? {
                load(&mut rows.users, id, || tree.user(*id))?;
            }
        }
        for id in &reads.users {
            load(&mut rows.users, id, || tree.user(*id))?;
        }
        for token in &reads.sessions {
            load(&mut rows.sessions, token, || tree.session_record(token))?;
            if let Some(session) = rows.sessions.get(token)? {
                let id = session.user_id;
                load(&mut rows.users, &id, || tree.user(id))?;
            }
        }
        for name in &reads.attempts {
            load(&mut rows.attempts, name, || attempts(tree, name))?;
        }
        for delivery in &reads.outcomes {
            let key = || records::outcome_key(delivery);
            load(&mut rows.outcomes, delivery, || tree.bytes(&key()))?;
        }
        if reads.oldest_attempt {
            self.load_oldest_attempts()?;
        }
        Ok(())
    }

    fn load_oldest_attempts(&mut self) -> Result<()> {
        let (tree, rows) = (self.tree, &mut self.rows);
        let known = rows
            .counters
            .get(&())?
            .map_or(0, |counters| counters.attempted);
        if known + (MAX_GROUP as u64) < rows.max_attempted {
            return Ok(());
        }
        let start = (Bound::Excluded(self.last_attempt.clone()), Bound::Unbounded);
        for entry in tree.range::<Vec<u8>, _>(start).take(OLDEST_FOR_EACH) {
            let (key, _) = entry.map_err(engine_error)?;
            if !key.starts_with(records::ATTEMPT_TIMES) {
                break;
            }
            let name = records::name_of_time_key(&key)?;
            load(&mut rows.attempts, &name, || attempts(tree, &name))?;
            rows.oldest_attempts.push(name);
            self.last_attempt = key.to_vec();
        }
        Ok(())
    }

    /// Returns the changes, or `None` if nothing changed.
    pub(super) fn into_writes(self) -> Result<Option<Writes>> {
        let rows = &self.rows;
        let mut writes = Writes::default();
        for ((), before, now) in rows.counters.changes() {
            if let Some(now) = now {
                writes.counters(before, now);
            }
        }
        for ((), _, now) in rows.hash_key.changes() {
            writes.set(records::HASH_KEY.into(), now.cloned());
        }
        for (id, before, now) in rows.users.changes() {
            let record = now.map(records::encode_user).transpose()?;
            writes.set(records::user_key(*id), record);
            // A new user has no cached sessions.
            if before.is_some_and(|before| !has_same_profile(before, now)) {
                writes.stale.users.push(*id);
            }
        }
        for (name, _, now) in rows.names.changes() {
            writes.set_number(records::name_key(name), now.copied());
        }
        for (_, before, now) in rows.sessions.changes() {
            writes.session(before, now)?;
        }
        for (name, before, now) in rows.attempts.changes() {
            writes.attempts(name, before, now);
        }
        for ((name, id), _, now) in rows.token_names.changes() {
            writes.set(records::token_name_key(name, *id), now.map(|()| Vec::new()));
        }
        for (delivery, _, now) in rows.outcomes.changes() {
            writes.set(records::outcome_key(delivery), now.cloned());
        }
        Ok(Some(writes).filter(|writes| writes.has_changes))
    }
}

/// Returns whether cached sessions of a user stay correct.
fn has_same_profile(before: &User, now: Option<&User>) -> bool {
    now.is_some_and(|now| Profile::from(now.clone()) == Profile::from(before.clone()))
}

fn attempts(tree: &::sled::Tree, name: &NameHash) -> Result<Option<Failures>> {
    Ok(Some(tree.failures(name)?).filter(|failures| failures.count > 0))
}

/// Loads a row, unless an earlier operation of the group has loaded it.
fn load<K: Clone + Eq + Hash, V: Clone>(
    table: &mut Table<K, V>,
    key: &K,
    read: impl FnOnce() -> Result<Option<V>>,
) -> Result<()> {
    if !table.is_loaded(key) {
        table.load(key.clone(), read()?);
    }
    Ok(())
}

/// Batch of writes, and the cached sessions that it invalidates.
#[derive(Default)]
pub(super) struct Writes {
    batch: ::sled::Batch,
    pub(super) has_changes: bool,
    pub(super) stale: Stale,
}

impl Writes {
    /// Returns the batch with the commit number added, and the cached sessions to invalidate.
    pub(super) fn into_batch(mut self, commit: u64) -> (::sled::Batch, Stale) {
        self.set_number(records::COMMIT.into(), Some(commit));
        (self.batch, self.stale)
    }

    pub(super) fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.has_changes = true;
        match value {
            Some(value) => self.batch.insert(key, value),
            None => self.batch.remove(key),
        }
    }

    pub(super) fn set_number(&mut self, key: Vec<u8>, number: Option<u64>) {
        self.set(key, number.map(|number| number.to_be_bytes().to_vec()));
    }

    pub(super) fn counters(&mut self, before: Option<&Counters>, now: &Counters) {
        let numbers = |counters: &Counters| {
            [
                (records::NEXT_USER_ID, counters.next.user),
                (records::NEXT_TOKEN_ID, counters.next.api_token),
                (records::USER_COUNT, counters.users),
                (records::ATTEMPTED_COUNT, counters.attempted),
                (records::IMPORTED_TOKENS, counters.imported_tokens),
            ]
        };
        let known = before.map(numbers);
        for (key, number) in numbers(now) {
            let is_known = known.is_some_and(|known| known.contains(&(key, number)));
            if !is_known {
                self.set_number(key.into(), Some(number));
            }
        }
    }

    /// Writes a session and its entry in the index of its user's sessions.
    pub(super) fn session(
        &mut self,
        before: Option<&Session>,
        now: Option<&Session>,
    ) -> Result<()> {
        let Some(session) = now.or(before) else {
            return Ok(());
        };
        self.stale.tokens.push(session.token);
        let record = now.map(records::encode_session).transpose()?;
        self.set(records::session_key(&session.token), record);
        if before.map(|before| before.user_id) != now.map(|now| now.user_id) {
            if let Some(before) = before {
                self.set(records::user_session_key(before), None);
            }
            if let Some(now) = now {
                self.set(records::user_session_key(now), Some(Vec::new()));
            }
        }
        Ok(())
    }

    /// Writes the failures under an unknown name and their entry in the index by time.
    fn attempts(&mut self, name: &NameHash, before: Option<&Failures>, now: Option<&Failures>) {
        self.set(
            records::attempts_key(name),
            now.map(|now| records::encode_failures(*now)),
        );
        if let Some(before) = before {
            self.set(records::attempt_time_key(before.last, name), None);
        }
        if let Some(now) = now {
            self.set(records::attempt_time_key(now.last, name), Some(Vec::new()));
        }
    }
}
