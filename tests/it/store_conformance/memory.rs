//! In-memory engine that runs one operation at a time. It shows the duties of an engine, and that
//! no operation depends on sled.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use platypush_userd::model::{
    DeliveryId, Failures, NameHash, Origin, Profile, Session, SessionRules, TokenHash, User, UserId,
};
use platypush_userd::store::operations::Job;
use platypush_userd::store::rows::{Counters, Reads, Rows, Table};
use platypush_userd::store::{DeadSessions, ImportBatch, NextIds, Page, Result, Store, StoreError};

use super::Engine;

/// In-memory store.
pub struct Memory(Mutex<State>);

struct State {
    counters: Counters,
    max_attempted: u64,
    hash_key: Option<Vec<u8>>,
    users: BTreeMap<UserId, User>,
    names: BTreeMap<String, UserId>,
    sessions: BTreeMap<[u8; 32], Session>,
    attempts: BTreeMap<[u8; 16], Failures>,
    token_names: BTreeSet<(String, UserId)>,
    outcomes: BTreeMap<[u8; 28], Vec<u8>>,
    origins: BTreeMap<[u8; 16], UserId>,
}

impl Engine for Memory {
    fn fresh() -> Self {
        Self::with_max_attempted(u64::MAX)
    }

    fn with_max_attempted(max_attempted: u64) -> Self {
        Self(Mutex::new(State {
            counters: Counters {
                next: NextIds {
                    user: 1,
                    api_token: 1,
                },
                users: 0,
                attempted: 0,
                imported_tokens: 0,
            },
            max_attempted,
            hash_key: None,
            users: BTreeMap::new(),
            names: BTreeMap::new(),
            sessions: BTreeMap::new(),
            attempts: BTreeMap::new(),
            token_names: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            origins: BTreeMap::new(),
        }))
    }

    fn store(&self) -> &dyn Store {
        self
    }

    fn reopen(&mut self) {}
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn load(&self, reads: &Reads, rows: &mut Rows) {
        rows.counters.load((), Some(self.counters));
        rows.hash_key.load((), self.hash_key.clone());
        for name in &reads.names {
            let id = self.names.get(name).copied();
            rows.names.load(name.clone(), id);
            if let Some(id) = id {
                rows.users.load(id, self.users.get(&id).cloned());
            }
        }
        for id in &reads.users {
            rows.users.load(*id, self.users.get(id).cloned());
        }
        for token in &reads.sessions {
            let session = self.sessions.get(&token.0).cloned();
            if let Some(Session { user_id, .. }) = session {
                rows.users.load(user_id, self.users.get(&user_id).cloned());
            }
            rows.sessions.load(*token, session);
        }
        for name in &reads.attempts {
            rows.attempts
                .load(*name, self.attempts.get(&name.0).copied());
        }
        for delivery in &reads.outcomes {
            let outcome = self.outcomes.get(&delivery.to_bytes()).cloned();
            rows.outcomes.load(*delivery, outcome);
        }
        if reads.oldest_attempt {
            let oldest = self
                .attempts
                .iter()
                .min_by_key(|(name, failures)| (failures.last, **name));
            if let Some((name, failures)) = oldest {
                let name = NameHash(*name);
                if !rows.attempts.is_loaded(&name) {
                    rows.attempts.load(name, Some(*failures));
                    rows.oldest_attempts.push(name);
                }
            }
        }
    }

    fn write(&mut self, rows: &Rows) {
        for ((), _, now) in rows.counters.changes() {
            self.counters = *now.unwrap();
        }
        for ((), _, now) in rows.hash_key.changes() {
            self.hash_key = now.cloned();
        }
        write(&rows.users, &mut self.users, |id| *id);
        write(&rows.names, &mut self.names, Clone::clone);
        write(&rows.sessions, &mut self.sessions, |token| token.0);
        write(&rows.attempts, &mut self.attempts, |name| name.0);
        write(&rows.outcomes, &mut self.outcomes, |id| id.to_bytes());
        for (key, _, now) in rows.token_names.changes() {
            match now {
                Some(()) => self.token_names.insert(key.clone()),
                None => self.token_names.remove(key),
            };
        }
    }

    fn session(&self, token: &TokenHash) -> Option<(Session, User)> {
        let session = self.sessions.get(&token.0)?;
        let user = self.users.get(&session.user_id)?;
        let belongs = session.belongs_to(user);
        belongs.then(|| (session.clone(), user.clone()))
    }

    fn import(&mut self, batch: ImportBatch) -> Result<()> {
        let is_hash_key_too_late = batch.hash_key.is_some() && batch.before.user > 1;
        let is_new = |user: &User| {
            let origin = user.origin.and_then(|origin| self.origins.get(&origin.0));
            let is_imported = origin.is_some_and(|id| self.users.contains_key(id));
            let is_new_id = (batch.before.user..batch.after.user).contains(&user.id);
            is_new_id && !is_imported && !self.names.contains_key(&user.username)
        };
        if self.counters.next != batch.before
            || is_hash_key_too_late
            || !batch.users.iter().all(is_new)
        {
            return Err(StoreError::Conflict);
        }
        if batch.progress.is_interrupted() {
            return Err(StoreError::Interrupted);
        }
        batch.progress.set_users(batch.users.len() as u64);
        self.counters.next = batch.after;
        self.counters.users += batch.users.len() as u64;
        for user in batch.users {
            self.counters.imported_tokens += u64::from(user.has_imported_tokens());
            self.names.insert(user.username.clone(), user.id);
            if let Some(origin) = user.origin {
                self.origins.insert(origin.0, user.id);
            }
            for name in &user.token_names {
                self.token_names.insert((name.clone(), user.id));
            }
            self.users.insert(user.id, user);
        }
        for session in batch.sessions {
            if self.session(&session.token).is_none() {
                self.sessions.insert(session.token.0, session);
            }
        }
        if let Some(sealed) = batch.hash_key {
            self.hash_key = Some(sealed);
        }
        Ok(())
    }
}

fn write<K: Clone + Eq + Hash, V: Clone, S: Ord>(
    table: &Table<K, V>,
    stored: &mut BTreeMap<S, V>,
    key_of: impl Fn(&K) -> S,
) {
    for (key, _, now) in table.changes() {
        match now {
            Some(now) => stored.insert(key_of(key), now.clone()),
            None => stored.remove(&key_of(key)),
        };
    }
}

/// Returns up to `limit` items, and the key of the next one.
fn page<T, K>(mut items: impl Iterator<Item = (K, T)>, limit: usize) -> Page<T, K> {
    let page = items.by_ref().take(limit).map(|(_, item)| item).collect();
    Page {
        items: page,
        next: items.next().map(|(key, _)| key),
    }
}

#[async_trait]
impl Store for Memory {
    fn submit(&self, mut job: Box<dyn Job>) -> Result<()> {
        let mut state = self.state();
        let mut rows = Rows::new(state.max_attempted);
        state.load(&job.reads(), &mut rows);
        job.apply(&mut rows);
        state.write(&rows);
        drop(state);
        job.finish(None);
        Ok(())
    }

    async fn counters(&self) -> Result<Counters> {
        Ok(self.state().counters)
    }

    async fn user_by_name(&self, username: &str) -> Result<Option<User>> {
        let state = self.state();
        let id = state.names.get(username);
        Ok(id.and_then(|id| state.users.get(id)).cloned())
    }

    async fn user(&self, id: UserId) -> Result<Option<User>> {
        Ok(self.state().users.get(&id).cloned())
    }

    async fn users(&self) -> Result<Vec<User>> {
        Ok(self.state().users.values().cloned().collect())
    }

    async fn profiles(&self) -> Result<Vec<Profile>> {
        let state = self.state();
        Ok(state.users.values().cloned().map(Profile::from).collect())
    }

    async fn session(&self, token: &TokenHash) -> Result<Option<(Session, Profile)>> {
        let found = self.state().session(token);
        Ok(found.map(|(session, user)| (session, user.into())))
    }

    async fn failures(&self, name: &NameHash) -> Result<Failures> {
        let failures = self.state().attempts.get(&name.0).copied();
        Ok(failures.unwrap_or_default())
    }

    async fn sessions_of(&self, user: UserId, generation: u64) -> Result<Vec<Session>> {
        let state = self.state();
        let sessions = state.sessions.values();
        let own = sessions.filter(|session| session.is_of(user, generation));
        let mut own: Vec<_> = own.cloned().collect();
        own.sort_unstable_by_key(|session| (session.created_at, session.token));
        Ok(own)
    }

    async fn users_by_token_name(&self, name: &str) -> Result<Vec<User>> {
        let state = self.state();
        let ids = state.token_names.iter().filter(|(known, _)| known == name);
        Ok(ids
            .filter_map(|(_, id)| state.users.get(id))
            .cloned()
            .collect())
    }

    async fn dead_sessions(
        &self,
        after: Option<TokenHash>,
        limit: usize,
        rules: SessionRules,
    ) -> Result<DeadSessions> {
        let state = self.state();
        let is_after = |session: &&Session| after.is_none_or(|after| session.token.0 > after.0);
        let seen: Vec<_> = state
            .sessions
            .values()
            .filter(is_after)
            .take(limit)
            .collect();
        let is_dead = |session: &&&Session| {
            let user = state.users.get(&session.user_id);
            !user.is_some_and(|user| session.is_valid(user, &rules))
        };
        let dead = seen.iter().filter(is_dead).map(|session| session.token);
        let next = (seen.len() == limit).then(|| seen[limit - 1].token);
        Ok((dead.collect(), next))
    }

    async fn outcome(&self, delivery: &DeliveryId) -> Result<Option<Vec<u8>>> {
        Ok(self.state().outcomes.get(&delivery.to_bytes()).cloned())
    }

    async fn outcomes(&self) -> Result<Vec<DeliveryId>> {
        let state = self.state();
        let ids = state.outcomes.keys();
        Ok(ids.map(|id| DeliveryId::from_bytes(id).unwrap()).collect())
    }

    fn forget_outcomes(&self, deliveries: Vec<DeliveryId>) {
        let mut state = self.state();
        for delivery in deliveries {
            state.outcomes.remove(&delivery.to_bytes());
        }
    }

    async fn hash_key(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.state().hash_key.clone())
    }

    async fn users_from(&self, from: UserId, limit: usize) -> Result<Page<User, UserId>> {
        let state = self.state();
        let users = state.users.range(from..);
        Ok(page(users.map(|(id, user)| (*id, user.clone())), limit))
    }

    async fn sessions_from(
        &self,
        from: TokenHash,
        limit: usize,
    ) -> Result<Page<Session, TokenHash>> {
        let state = self.state();
        let sessions = state.sessions.range(from.0..);
        let mut page = page(
            sessions.map(|(token, session)| (TokenHash(*token), session.clone())),
            limit,
        );
        page.items
            .retain(|session| state.session(&session.token).is_some());
        Ok(page)
    }

    async fn by_origin(&self, origin: Origin) -> Result<Option<(UserId, Option<User>)>> {
        let state = self.state();
        let id = state.origins.get(&origin.0);
        Ok(id.map(|id| (*id, state.users.get(id).cloned())))
    }

    async fn import(&self, batch: ImportBatch) -> Result<()> {
        self.state().import(batch)
    }
}
