//! Sessions in memory, so that the most frequent look-up need not read sled.
//!
//! Nothing in here ever differs from what is on disk by the time somebody can
//! know it. A reader that finds no session here reads the tree and offers what
//! it found, under the ticket it drew before. The one writer, after it has made
//! a group durable and before anybody hears of that, has the cache forget what
//! the group changed. So an answer from here is one that the store would have
//! given until the change was answered; and what a reader had read before a
//! change is not taken after it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::DateTime;
use hashbrown::HashTable;

use crate::clock::Timestamp;
use crate::model::{Profile, Session, TokenHash, UserId};

/// Most memory for sessions: a million of them, with names of usual length.
pub(super) const MAX_BYTES: usize = 192 << 20;
/// What a session costs beside itself and the name: its place in a table that
/// may be half empty, and what the allocator adds.
const OVERHEAD: usize = 48;
/// As many tables: one that grows must not be felt.
const TABLES: usize = 256;
/// Tokens share the memory of when they changed.
const SLOTS: usize = 4096;
/// Most users whose change is remembered; then everything is forgotten.
const MAX_USERS: usize = 1 << 16;

pub(super) struct SessionCache {
    inner: Mutex<Inner>,
}

/// What to forget.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Sessions that were changed or removed.
    pub(super) tokens: Vec<TokenHash>,
    /// Users that are gone, or are no longer what their sessions show of them.
    pub(super) users: Vec<UserId>,
}

/// Tells when a reader began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

type Tables = Vec<HashTable<Box<Known>>>;

fn empty_tables() -> Tables {
    (0..TABLES).map(|_| HashTable::new()).collect()
}

struct Inner {
    tables: Tables,
    bytes: usize,
    max_bytes: usize,
    /// Table and bucket where room is made next.
    hand: (usize, usize),
    /// The last change.
    now: Ticket,
    /// Readers that began before this are too late, whatever they bring.
    floor: Ticket,
    /// When a token of each slot last changed.
    tokens: Vec<Ticket>,
    /// When a user last changed.
    users: HashMap<UserId, Ticket>,
}

/// A session and its user, packed: there may be a million.
struct Known {
    token: TokenHash,
    user_id: UserId,
    generation: u64,
    /// Times in microseconds.
    created_at: i64,
    expires_at: Option<i64>,
    used_at: i64,
    user_created_at: i64,
    read: Ticket,
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
                hand: (0, 0),
                now: Ticket(0),
                floor: Ticket(0),
                tokens: vec![Ticket(0); SLOTS],
                users: HashMap::new(),
            }),
        }
    }

    /// The session, where it is known; or else a ticket for who reads it now.
    pub(super) fn get(&self, token: &TokenHash) -> Result<(Session, Profile), Ticket> {
        let mut inner = self.lock();
        let now = inner.now;
        inner.get(token).ok_or(now)
    }

    /// Takes a session that was read under a ticket, unless something has
    /// changed since.
    pub(super) fn offer(&self, ticket: Ticket, session: &Session, profile: &Profile) {
        self.lock().offer(ticket, session, profile);
    }

    /// Forgets what has changed.
    pub(super) fn forget(&self, stale: &Stale) {
        if stale.tokens.is_empty() && stale.users.is_empty() {
            return;
        }
        let forgotten = self.lock().forget(stale);
        // Without the lock: it may be a million.
        drop(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn get(&mut self, token: &TokenHash) -> Option<(Session, Profile)> {
        let known = self.tables[table(token)].find(hash(token), |known| known.token == *token)?;
        let changed = self.users.get(&known.user_id);
        if changed.is_some_and(|changed| *changed > known.read) {
            self.remove(token);
            return None;
        }
        known.unpack()
    }

    fn offer(&mut self, ticket: Ticket, session: &Session, profile: &Profile) {
        let token = session.token;
        let changed = [
            Some(self.floor),
            Some(self.tokens[slot(&token)]),
            self.users.get(&profile.id).copied(),
        ];
        if changed
            .into_iter()
            .flatten()
            .any(|changed| changed > ticket)
        {
            return;
        }
        self.remove(&token);
        let known = Known::pack(ticket, session, profile);
        self.bytes += known.bytes();
        self.tables[table(&token)]
            .insert_unique(hash(&token), Box::new(known), |known| hash(&known.token));
        self.make_room();
    }

    /// Gives what was forgotten because of too many changes.
    fn forget(&mut self, stale: &Stale) -> Tables {
        self.now.0 += 1;
        for token in &stale.tokens {
            self.tokens[slot(token)] = self.now;
            self.remove(token);
        }
        for id in &stale.users {
            self.users.insert(*id, self.now);
        }
        if self.users.len() <= MAX_USERS {
            return Vec::new();
        }
        self.floor = self.now;
        self.users.clear();
        self.bytes = 0;
        std::mem::replace(&mut self.tables, empty_tables())
    }

    fn remove(&mut self, token: &TokenHash) {
        let found =
            self.tables[table(token)].find_entry(hash(token), |known| known.token == *token);
        if let Ok(entry) = found {
            self.bytes -= entry.remove().0.bytes();
        }
    }

    /// Forgets whatever comes next, as long as there is too much.
    fn make_room(&mut self) {
        while self.bytes > self.max_bytes {
            let (table, bucket) = self.hand;
            if bucket >= self.tables[table].num_buckets() {
                self.hand = ((table + 1) % TABLES, 0);
                continue;
            }
            self.hand = (table, bucket + 1);
            if let Ok(entry) = self.tables[table].get_bucket_entry(bucket) {
                self.bytes -= entry.remove().0.bytes();
            }
        }
    }
}

impl Known {
    fn pack(read: Ticket, session: &Session, profile: &Profile) -> Self {
        Self {
            token: session.token,
            user_id: profile.id,
            generation: session.generation,
            created_at: session.created_at.timestamp_micros(),
            expires_at: session.expires_at.map(|at| at.timestamp_micros()),
            used_at: session.used_at.timestamp_micros(),
            user_created_at: profile.created_at.timestamp_micros(),
            read,
            username: profile.username.as_str().into(),
            has_second_factor: profile.has_second_factor,
        }
    }

    /// `None` never happens: the times were packed here.
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

// A token's hash is as random as can be: parts of it are hashes of their own.
// (Who makes sessions does not choose their tokens.)

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
