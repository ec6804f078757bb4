//! In-memory cache of sessions, so that the most frequent look-up does not read sled.
//!
//! The cache never returns a session that an answered change has made obsolete. A reader that finds
//! no session in the cache gets a ticket, reads the tree, and offers the session under that ticket.
//! After the writer has made a group durable, and before it answers readers and callers, it
//! invalidates the sessions that the group changed. So a cached session is what the store would
//! have returned until the change was answered, and an offer with a ticket from before a change is
//! rejected after it.
//!
//! The cache is bounded and does not survive a restart. A property test compares it with a model of
//! slow readers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::DateTime;
use hashbrown::HashTable;

use crate::clock::Timestamp;
use crate::model::{Profile, Session, TokenHash, UserId};

/// Maximum memory for sessions: about a million with names of usual length.
pub(super) const MAX_BYTES: usize = 192 << 20;
/// Estimated bytes per session beside the struct and the name: its slot in a hash table that may be
/// half empty, and the overhead of the allocator.
const OVERHEAD: usize = 48;
/// Number of shards, so that a resize of one table stays short.
const TABLES: usize = 256;
/// Number of slots for the last changes of tokens. Tokens with the same slot share its ticket.
const SLOTS: usize = 4096;
/// Maximum number of users with a recorded change. Beyond it, the whole cache is invalidated.
const MAX_USERS: usize = 1 << 16;

pub(super) struct SessionCache {
    inner: Mutex<Inner>,
}

/// Sessions to invalidate.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Sessions that were changed or removed.
    pub(super) tokens: Vec<TokenHash>,
    /// Users that were deleted or whose profile changed.
    pub(super) users: Vec<UserId>,
}

/// Logical time of a read: the number of changes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

type Tables = Vec<HashTable<Box<CachedSession>>>;

fn empty_tables() -> Tables {
    (0..TABLES).map(|_| HashTable::new()).collect()
}

struct Inner {
    tables: Tables,
    bytes: usize,
    max_bytes: usize,
    /// Table and bucket of the next eviction.
    clock_hand: (usize, usize),
    /// Ticket of the last change.
    last_change: Ticket,
    /// Offers with an earlier ticket are rejected.
    oldest_valid: Ticket,
    /// Last change of a token in each slot.
    tokens: Vec<Ticket>,
    /// Last change of each user.
    users: HashMap<UserId, Ticket>,
}

/// Session and its user in a compact form, because the cache may hold a million.
struct CachedSession {
    token: TokenHash,
    user_id: UserId,
    generation: u64,
    /// Times in microseconds.
    created_at: i64,
    expires_at: Option<i64>,
    used_at: i64,
    user_created_at: i64,
    ticket: Ticket,
    username: Box<str>,
    has_second_factor: bool,
}

impl SessionCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                tables: empty_tables(),
                bytes: 0,
                max_bytes,
                clock_hand: (0, 0),
                last_change: Ticket(0),
                oldest_valid: Ticket(0),
                tokens: vec![Ticket(0); SLOTS],
                users: HashMap::new(),
            }),
        }
    }

    /// Returns the cached session, or a ticket for a read of the tree.
    pub(super) fn get(&self, token: &TokenHash) -> Result<(Session, Profile), Ticket> {
        let mut inner = self.lock();
        let ticket = inner.last_change;
        inner.get(token).ok_or(ticket)
    }

    /// Caches a session that was read under a ticket, unless it may have changed since.
    pub(super) fn offer(&self, ticket: Ticket, session: &Session, profile: &Profile) {
        self.lock().offer(ticket, session, profile);
    }

    /// Invalidates sessions.
    pub(super) fn invalidate(&self, stale: &Stale) {
        if stale.tokens.is_empty() && stale.users.is_empty() {
            return;
        }
        let removed = self.lock().invalidate(stale);
        // Dropped without the lock, because there may be a million.
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&mut self, token: &TokenHash) -> Option<(Session, Profile)> {
        let cached =
            self.tables[table(token)].find(hash(token), |cached| cached.token == *token)?;
        if self.has_changed(cached.user_id, cached.ticket) {
            self.remove(token);
            return None;
        }
        cached.unpack()
    }

    /// Returns whether a user has changed since a ticket.
    fn has_changed(&self, user: UserId, ticket: Ticket) -> bool {
        self.users
            .get(&user)
            .is_some_and(|changed| *changed > ticket)
    }

    fn offer(&mut self, ticket: Ticket, session: &Session, profile: &Profile) {
        let token = session.token;
        let is_stale = self.oldest_valid > ticket
            || self.tokens[slot(&token)] > ticket
            || self.has_changed(profile.id, ticket);
        if is_stale {
            return;
        }
        self.remove(&token);
        let cached = CachedSession::pack(ticket, session, profile);
        self.bytes += cached.bytes();
        self.tables[table(&token)]
            .insert_unique(hash(&token), Box::new(cached), |cached| hash(&cached.token));
        self.evict();
    }

    /// Invalidates sessions. Returns the tables of the whole cache if too many users have changed.
    fn invalidate(&mut self, stale: &Stale) -> Tables {
        self.last_change.0 += 1;
        for token in &stale.tokens {
            self.tokens[slot(token)] = self.last_change;
            self.remove(token);
        }
        for id in &stale.users {
            self.users.insert(*id, self.last_change);
        }
        if self.users.len() <= MAX_USERS {
            return Vec::new();
        }
        self.oldest_valid = self.last_change;
        self.users.clear();
        self.bytes = 0;
        std::mem::replace(&mut self.tables, empty_tables())
    }

    fn remove(&mut self, token: &TokenHash) {
        let found =
            self.tables[table(token)].find_entry(hash(token), |cached| cached.token == *token);
        if let Ok(entry) = found {
            self.bytes -= entry.remove().0.bytes();
        }
    }

    /// Evicts sessions in the order of their buckets until the cache is within its limit.
    fn evict(&mut self) {
        while self.bytes > self.max_bytes {
            let (table, bucket) = self.clock_hand;
            if bucket >= self.tables[table].num_buckets() {
                self.clock_hand = ((table + 1) % TABLES, 0);
                continue;
            }
            self.clock_hand = (table, bucket + 1);
            if let Ok(entry) = self.tables[table].get_bucket_entry(bucket) {
                self.bytes -= entry.remove().0.bytes();
            }
        }
    }
}

impl CachedSession {
    fn pack(ticket: Ticket, session: &Session, profile: &Profile) -> Self {
        Self {
            token: session.token,
            user_id: profile.id,
            generation: session.generation,
            created_at: session.created_at.timestamp_micros(),
            expires_at: session.expires_at.map(|at| at.timestamp_micros()),
            used_at: session.used_at.timestamp_micros(),
            user_created_at: profile.created_at.timestamp_micros(),
            ticket,
            username: profile.username.as_str().into(),
            has_second_factor: profile.has_second_factor,
        }
    }

    /// Returns the session and its user. Never `None`, because the times come from `pack`.
    fn unpack(&self) -> Option<(Session, Profile)> {
        let session = Session {
            token: self.token,
            user_id: self.user_id,
            generation: self.generation,
            created_at: time(self.created_at)?,
            expires_at: match self.expires_at {
                Some(at) => Some(time(at)?),
                None => None,
            },
            used_at: time(self.used_at)?,
        };
        let profile = Profile {
            id: self.user_id,
            username: self.username.as_ref().to_owned(),
            created_at: time(self.user_created_at)?,
            generation: self.generation,
            has_second_factor: self.has_second_factor,
        };
        Some((session, profile))
    }

    const fn bytes(&self) -> usize {
        size_of::<Self>() + self.username.len() + OVERHEAD
    }
}

fn time(micros: i64) -> Option<Timestamp> {
    DateTime::from_timestamp_micros(micros)
}

// A token hash is uniformly random, and clients do not choose the tokens. So parts of it serve as
// independent hashes.

fn hash(token: &TokenHash) -> u64 {
    let [_, _, _, _, hash @ ..] = token.0.first_chunk::<12>().copied().unwrap_or_default();
    u64::from_le_bytes(hash)
}

fn table(token: &TokenHash) -> usize {
    usize::from(token.0[0]) % TABLES
}

fn slot(token: &TokenHash) -> usize {
    usize::from(u16::from_le_bytes([token.0[1], token.0[2]])) % SLOTS
}

#[cfg(test)]
mod tests;
