//! Rows: the in-memory part of the store that operations read and change, independent of the
//! engine.
//!
//! An engine loads the rows that the operations of a group declare ([`Reads`]), runs the
//! operations in order, and writes [`Table::changes`] atomically. Each operation sees the changes
//! of the operations before it. A failed operation leaves no changes.

use std::collections::HashMap;
use std::hash::Hash;

use super::{NextIds, Result, StoreError};
use crate::model::{ApiTokenId, DeliveryId, Failures, NameHash, Session, TokenHash, User, UserId};

/// Rows that an operation reads.
#[derive(Debug, Default)]
pub struct Reads {
    /// Whether it reads the counters.
    pub counters: bool,
    /// Whether it reads the key of the keyed hashes.
    pub hash_key: bool,
    /// Users by id.
    pub users: Vec<UserId>,
    /// Users by name, with their ids.
    pub names: Vec<String>,
    /// Sessions with their users.
    pub sessions: Vec<TokenHash>,
    /// Failures under unknown names.
    pub attempts: Vec<NameHash>,
    /// Whether it may evict the unknown name with the oldest last attempt.
    pub oldest_attempt: bool,
    /// Outcomes.
    pub outcomes: Vec<DeliveryId>,
}

impl Reads {
    pub(super) fn user(id: UserId) -> Self {
        Self {
            users: vec![id],
            ..Self::default()
        }
    }

    pub(super) fn name(username: &str) -> Self {
        Self {
            names: vec![username.to_owned()],
            ..Self::default()
        }
    }

    pub(super) fn sessions(tokens: &[TokenHash]) -> Self {
        Self {
            sessions: tokens.to_vec(),
            ..Self::default()
        }
    }

    pub(super) const fn with_counters(mut self) -> Self {
        self.counters = true;
        self
    }
}

/// Counters of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Next ids to assign.
    pub next: NextIds,
    /// Number of users.
    pub users: u64,
    /// Number of unknown names with failures.
    pub attempted: u64,
    /// Number of users with API tokens that still have an imported record.
    pub imported_tokens: u64,
}

/// The rows of a group of operations.
#[derive(Debug)]
pub struct Rows {
    /// Counters, a single row.
    pub counters: Table<(), Counters>,
    /// Sealed key of the keyed hashes, a single row.
    pub hash_key: Table<(), Vec<u8>>,
    /// Users by id.
    pub users: Table<UserId, User>,
    /// Ids of users by name.
    pub names: Table<String, UserId>,
    /// Sessions, including revoked sessions and sessions of deleted users.
    pub sessions: Table<TokenHash, Session>,
    /// Failures under unknown names.
    pub attempts: Table<NameHash, Failures>,
    /// Names in API tokens that differ from the names of their users. Operations only write them.
    pub token_names: Table<(String, UserId), ()>,
    /// Sealed outcomes.
    pub outcomes: Table<DeliveryId, Vec<u8>>,
    /// Unknown names with the oldest last attempts before the group, the oldest first.
    pub oldest_attempts: Vec<NameHash>,
    /// Maximum number of unknown names with failures.
    pub max_attempted: u64,
}

/// Rows of one kind.
#[derive(Debug)]
pub struct Table<K, V> {
    /// Description of a row, for errors.
    row_kind: &'static str,
    rows: HashMap<K, Versions<V>>,
    /// Undo log of the current operation: key, earlier row, and whether the row was changed
    /// before. The latest change is last.
    undo: Vec<(K, Option<V>, bool)>,
}

/// Row before and after the operations so far.
#[derive(Debug)]
struct Versions<V> {
    before: Option<V>,
    now: Option<V>,
    is_changed: bool,
}

impl<K: Clone + Eq + Hash, V: Clone> Table<K, V> {
    fn new(row_kind: &'static str) -> Self {
        Self {
            row_kind,
            rows: HashMap::new(),
            undo: Vec::new(),
        }
    }

    /// Returns whether the row of a key was loaded.
    #[must_use]
    pub fn is_loaded(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// Loads a row of the store.
    pub fn load(&mut self, key: K, row: Option<V>) {
        let versions = Versions {
            before: row.clone(),
            now: row,
            is_changed: false,
        };
        self.rows.insert(key, versions);
    }

    /// Returns a row with the changes of the operations so far.
    ///
    /// # Errors
    /// If the operation did not declare the read, which is a bug.
    pub fn get(&self, key: &K) -> Result<Option<&V>> {
        let Some(versions) = self.rows.get(key) else {
            debug_assert!(false, "an undeclared read of {}", self.row_kind);
            return Err(StoreError::Engine(format!(
                "an operation read {} without declaring it",
                self.row_kind
            )));
        };
        Ok(versions.now.as_ref())
    }

    /// Returns whether the operations so far have changed a row, or removed it.
    fn is_changed(&self, key: &K) -> bool {
        self.rows.get(key).is_none_or(|row| row.is_changed)
    }

    pub(super) fn put(&mut self, key: K, row: V) {
        self.set(key, Some(row));
    }

    pub(super) fn remove(&mut self, key: K) {
        self.set(key, None);
    }

    fn set(&mut self, key: K, row: Option<V>) {
        let versions = self.rows.entry(key.clone()).or_insert(Versions {
            before: None,
            now: None,
            is_changed: false,
        });
        let earlier = std::mem::replace(&mut versions.now, row);
        let was_changed = std::mem::replace(&mut versions.is_changed, true);
        self.undo.push((key, earlier, was_changed));
    }

    fn roll_back(&mut self) {
        for (key, earlier, was_changed) in self.undo.drain(..).rev() {
            if let Some(versions) = self.rows.get_mut(&key) {
                versions.now = earlier;
                versions.is_changed = was_changed;
            }
        }
    }

    /// Returns the changed rows: key, row in the store, new row.
    pub fn changes(&self) -> impl Iterator<Item = (&K, Option<&V>, Option<&V>)> {
        self.rows
            .iter()
            .filter(|(_, row)| row.is_changed)
            .map(|(key, row)| (key, row.before.as_ref(), row.now.as_ref()))
    }
}

impl Rows {
    /// Returns empty tables.
    #[must_use]
    pub fn new(max_attempted: u64) -> Self {
        Self {
            counters: Table::new("the counters"),
            hash_key: Table::new("the hash key"),
            users: Table::new("a user"),
            names: Table::new("a name"),
            sessions: Table::new("a session"),
            attempts: Table::new("the failures under a name"),
            token_names: Table::new("a name in a token"),
            outcomes: Table::new("an outcome"),
            oldest_attempts: Vec::new(),
            max_attempted,
        }
    }

    /// Begins an operation. [`Self::roll_back`] undoes the changes made since.
    pub(super) fn begin(&mut self) {
        self.counters.undo.clear();
        self.hash_key.undo.clear();
        self.users.undo.clear();
        self.names.undo.clear();
        self.sessions.undo.clear();
        self.attempts.undo.clear();
        self.token_names.undo.clear();
        self.outcomes.undo.clear();
    }

    /// Returns whether the current operation has changed any row.
    pub(super) fn has_changes(&self) -> bool {
        !(self.counters.undo.is_empty()
            && self.hash_key.undo.is_empty()
            && self.users.undo.is_empty()
            && self.names.undo.is_empty()
            && self.sessions.undo.is_empty()
            && self.attempts.undo.is_empty()
            && self.token_names.undo.is_empty()
            && self.outcomes.undo.is_empty())
    }

    /// Undoes the changes of the current operation.
    pub(super) fn roll_back(&mut self) {
        self.counters.roll_back();
        self.hash_key.roll_back();
        self.users.roll_back();
        self.names.roll_back();
        self.sessions.roll_back();
        self.attempts.roll_back();
        self.token_names.roll_back();
        self.outcomes.roll_back();
    }

    pub(super) fn counters(&self) -> Result<Counters> {
        let counters = self.counters.get(&())?.copied();
        counters.ok_or_else(|| StoreError::Engine("a store without counters".into()))
    }

    pub(super) fn change_counters(&mut self, change: impl FnOnce(&mut Counters)) -> Result<()> {
        let mut counters = self.counters()?;
        change(&mut counters);
        self.counters.put((), counters);
        Ok(())
    }

    /// Assigns the next user id.
    pub(super) fn take_user_id(&mut self) -> Result<UserId> {
        let id = self.counters()?.next.user;
        self.change_counters(|counters| counters.next.user = id + 1)?;
        Ok(id)
    }

    /// Assigns the next API token id.
    pub(super) fn take_api_token_id(&mut self) -> Result<ApiTokenId> {
        let id = self.counters()?.next.api_token;
        self.change_counters(|counters| counters.next.api_token = id + 1)?;
        Ok(id)
    }

    pub(super) fn user(&self, id: UserId) -> Result<Option<User>> {
        self.users.get(&id).map(Option::<&User>::cloned)
    }

    pub(super) fn id_of(&self, username: &str) -> Result<Option<UserId>> {
        Ok(self.names.get(&username.to_owned())?.copied())
    }

    pub(super) fn user_named(&self, username: &str) -> Result<Option<User>> {
        match self.id_of(username)? {
            Some(id) => self.user(id),
            None => Ok(None),
        }
    }

    /// Returns a session and its user, or `None` if the session is revoked or its user was
    /// deleted.
    pub(super) fn session(&self, token: &TokenHash) -> Result<Option<(Session, User)>> {
        let Some(session) = self.sessions.get(token)? else {
            return Ok(None);
        };
        let user = self.user(session.user_id)?;
        let user = user.filter(|user| session.belongs_to(user));
        Ok(user.map(|user| (session.clone(), user)))
    }

    pub(super) fn put_user(&mut self, user: User) {
        self.users.put(user.id, user);
    }

    /// Writes a user if it differs from its current row.
    pub(super) fn put_user_if_changed(&mut self, user: User) -> Result<()> {
        if self.users.get(&user.id)? != Some(&user) {
            self.put_user(user);
        }
        Ok(())
    }

    /// Returns the unknown name with the oldest last attempt. Attempts of this group are newer than
    /// all attempts in the store.
    pub(super) fn oldest_attempt(&self) -> Option<NameHash> {
        let is_unchanged = |name: &&NameHash| !self.attempts.is_changed(name);
        self.oldest_attempts.iter().find(is_unchanged).copied()
    }
}
