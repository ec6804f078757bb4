//! Turns for slow requests, so that slow requests do not delay fast ones.
//!
//! A request that costs password hashes, hashes imported API tokens, lists users, or lists the
//! sessions of a user waits for a turn of its class before it starts. Other requests pass it.
//! Within a class, names take turns in rotation (`fair_queue.rs`), by the keyed hash of the name
//! whose password is checked: that of the executing user, if there is one.
//!
//! # Bounds
//!
//! A request that begins to wait gives back its capacity in the budget (`queue/budget.rs`):
//! otherwise 10,000 logins would keep every look-up in Redis. So the classes have bounds of their
//! own. Beyond 64 requests, a class is bounded by the bytes of its waiting requests (20 MiB for
//! hashing, 4 MiB for each other class, so that none fills up another) and by the expected wait of
//! a new request: the number of requests ahead of it in the rotation, times a moving average of the
//! length of a turn. Of the turns for hashing, only those that hashed count in the average: a
//! throttled login takes milliseconds, and a flood of them would make the queue look faster than it
//! is.
//!
//! A request that would wait for more than `max_login_wait` is refused at once: its client would
//! have given up by the time of its turn, and the turn would only delay other requests. A login is
//! refused before any look-up, so the refusal does not reveal whether the name has a user.
//!
//! # Stopping
//!
//! Closing the classes ends all waits: the requests that wait have not started, and are requeued at
//! the head of the queue. A request that has started runs to its end, or to `shutdown_timeout`: then
//! the next start recovers it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, Ticket};
use crate::actions::Cost;
use crate::model::NameHash;
use crate::queue::{CrashJournal, Delivery, JournalEntry};

/// Maximum number of concurrent requests that list users.
const LISTING_TURNS: usize = 1;

/// Maximum number of concurrent requests that list the sessions of a user.
const SESSIONS_TURNS: usize = 1;

/// Maximum number of concurrent requests that hash imported API tokens.
const TOKEN_TURNS: usize = 1;

/// Number of requests of a class that may wait for any time.
const ALWAYS_WAITING: usize = 64;

/// Maximum bytes of the requests that wait for a turn to hash. Together with the three other
/// classes it is 32 MiB. The first [`ALWAYS_WAITING`] requests of a class take less than either
/// limit, because the length of arguments is bounded.
const HASHING_BYTES: usize = 20 << 20;
/// Maximum bytes of the requests that wait in each other class.
const OTHER_BYTES: usize = 4 << 20;

/// Bytes of a waiting request besides its texts: mostly the future that runs it.
const WAITING_OVERHEAD: usize = 2 << 10;

/// Estimated length of a turn before any has been measured.
const FIRST_ESTIMATE: Duration = Duration::from_millis(100);

/// Maximum length of a turn in the estimate. A turn that is held until its reply is sent may have
/// waited for Redis.
const MAX_MEASURED_TURN: Duration = Duration::from_secs(5);

/// Divisor of the newest measurement in the moving average.
const ESTIMATE_DIVISOR: u32 = 8;

/// Maximum delay that a refusal suggests before a retry.
const MAX_RETRY_SECONDS: u64 = 60;

/// The turns of all classes.
pub struct Turns {
    /// For requests that cost password hashes.
    hashing: Arc<Class>,
    /// For requests that hash imported API tokens.
    tokens: Arc<Class>,
    /// For requests that hold all users in memory.
    listing: Arc<Class>,
    /// For requests that hold any number of sessions of a user in memory.
    sessions: Arc<Class>,
    /// The expected wait from which a request is refused.
    max_wait: Duration,
    journal: Arc<CrashJournal>,
}

/// The turns for requests of one cost.
struct Class {
    turns: usize,
    /// Maximum bytes of the requests that wait.
    max_bytes: usize,
    /// Maximum bytes of the requests that wait, for a request whose name is already waiting. It is
    /// lower, so that a flood under one name leaves capacity for other names.
    max_bytes_of_waiting_name: usize,
    state: Mutex<State>,
}

struct State {
    queue: FairQueue<oneshot::Sender<Instant>>,
    /// Bytes of the requests that wait.
    waiting_bytes: usize,
    /// Exponential moving average of the length of a turn.
    estimate: Duration,
    closed: bool,
}

/// The turn of a request, with its entry in the crash journal. Dropping it gives the turn to the
/// next waiter.
pub(super) struct Turn {
    class: Arc<Class>,
    name: NameHash,
    since: Instant,
    journal_entry: Option<JournalEntry>,
    /// Whether the length of the turn counts in the estimate. Only a turn that did the work of its
    /// class counts: the turn of a throttled login, for example, is far shorter than one that hashes.
    pub(super) is_measured: bool,
    /// Whether the turn ends only once the reply is sent.
    pub(super) is_held_until_sent: bool,
}

/// Why a request gets no turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// The classes are closed, because the daemon stops.
    Closed,
    /// The turn would come too late. A retry is worthwhile after this many seconds.
    Busy(u64),
}

impl Turns {
    /// Returns the number of turns of all classes, given the number for hashing.
    #[must_use]
    pub const fn count(hashing: usize) -> usize {
        hashing + TOKEN_TURNS + LISTING_TURNS + SESSIONS_TURNS
    }

    /// Returns turns of which `hashing` are for hashing. That should be somewhat more than the
    /// number of hashing threads, so that no thread is idle while a reply is encoded and sent.
    /// Requests that would wait for more than `max_wait` are refused.
    #[must_use]
    pub fn new(hashing: usize, max_wait: Duration, journal: Arc<CrashJournal>) -> Self {
        Self {
            hashing: Class::new(hashing, HASHING_BYTES, HASHING_BYTES / 2),
            tokens: Class::new(TOKEN_TURNS, OTHER_BYTES, OTHER_BYTES / 2),
            // All requests of this class wait under one name, the empty one.
            listing: Class::new(LISTING_TURNS, OTHER_BYTES, OTHER_BYTES),
            sessions: Class::new(SESSIONS_TURNS, OTHER_BYTES, OTHER_BYTES / 2),
            max_wait,
            journal,
        }
    }

    /// Waits for the turn of a request under `name`. Returns `None` for a request that needs no
    /// turn.
    pub(super) async fn wait(
        &self,
        cost: Cost,
        name: impl FnOnce() -> NameHash,
        delivery: &mut Delivery,
    ) -> Result<Option<Turn>, NoTurn> {
        let (class, is_held_until_sent) = match cost {
            Cost::Light => return Ok(None),
            // Dispatch has resolved `Depends`; otherwise it counts as hashing.
            Cost::Hash | Cost::Depends => (&self.hashing, false),
            Cost::TokenHashes => (&self.tokens, false),
            Cost::Listing => (&self.listing, true),
            Cost::Sessions => (&self.sessions, true),
        };
        let mut waiter = self.queue_up(class, name(), delivery.bytes)?;
        delivery.leave_fast_phase();
        let since = (&mut waiter.granted).await.map_err(|_| NoTurn::Closed)?;
        Ok(Some(Turn {
            class: Arc::clone(class),
            name: waiter.ticket.name,
            since,
            journal_entry: self.journal.begin_turn(delivery.id),
            is_measured: false,
            is_held_until_sent,
        }))
    }

    fn queue_up(&self, class: &Arc<Class>, name: NameHash, bytes: usize) -> Result<Waiter, NoTurn> {
        let mut state = class.lock();
        if state.closed {
            return Err(NoTurn::Closed);
        }
        let bytes = bytes.saturating_add(WAITING_OVERHEAD);
        let waiting_bytes = state.waiting_bytes.saturating_add(bytes);
        let wait = class.expected_wait(&state, &name);
        let is_waiting = state.queue.ahead(&name).of_name > 0;
        let max_bytes = if is_waiting {
            class.max_bytes_of_waiting_name
        } else {
            class.max_bytes
        };
        let too_much = wait > self.max_wait || waiting_bytes > max_bytes;
        if too_much && state.queue.waiting > ALWAYS_WAITING {
            let seconds = wait.saturating_sub(self.max_wait).as_secs() + 1;
            return Err(NoTurn::Busy(seconds.min(MAX_RETRY_SECONDS)));
        }
        state.waiting_bytes = waiting_bytes;
        let (sender, granted) = oneshot::channel();
        let ticket = state.queue.push(name, sender);
        state.grant();
        drop(state);
        Ok(Waiter {
            class: Arc::clone(class),
            ticket,
            granted,
            bytes,
        })
    }

    /// Gives no more turns, also to the requests that wait.
    pub(super) fn close(&self) {
        for class in [&self.hashing, &self.tokens, &self.listing, &self.sessions] {
            let mut state = class.lock();
            state.closed = true;
            // Dropping a sender wakes its waiter with an error.
            let waiting = state.queue.drain();
            drop(state);
            drop(waiting);
        }
    }
}

impl Class {
    fn new(turns: usize, max_bytes: usize, max_bytes_of_waiting_name: usize) -> Arc<Self> {
        Arc::new(Self {
            turns: turns.max(1),
            max_bytes,
            max_bytes_of_waiting_name,
            state: Mutex::new(State {
                queue: FairQueue::new(turns),
                waiting_bytes: 0,
                estimate: FIRST_ESTIMATE,
                closed: false,
            }),
        })
    }

    /// Returns the expected wait of a new request under `name`. It depends on the waiting requests
    /// alone, so a refusal does not reveal whether the name has a user.
    fn expected_wait(&self, state: &State, name: &NameHash) -> Duration {
        let ahead = state.queue.ahead(name);
        let rounds = |requests: usize, turns: usize| {
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            let turns = u32::try_from(turns.max(1)).unwrap_or(u32::MAX);
            state.estimate.saturating_mul(requests) / turns
        };
        // One name does not get all turns, even if no other name waits.
        let of_name = rounds(ahead.of_name, state.queue.max_turns_of_name);
        rounds(ahead.total, self.turns).max(of_name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the free turns to the next waiters.
    fn grant(&mut self) {
        while let Some(sender) = self.queue.start() {
            // The receiver exists: a dropped waiter leaves the queue under this lock.
            let _ = sender.send(Instant::now());
        }
    }
}

/// A request that waits for a turn. Dropping it leaves the queue, or gives back a turn that was
/// already granted.
struct Waiter {
    class: Arc<Class>,
    ticket: Ticket,
    granted: oneshot::Receiver<Instant>,
    bytes: usize,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.class.lock();
        state.waiting_bytes -= self.bytes;
        if state.queue.cancel(&self.ticket).is_none() && self.granted.try_recv().is_ok() {
            state.queue.finish(self.ticket.name);
            state.grant();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Cleared before another request gets the turn.
        self.journal_entry = None;
        let mut state = self.class.lock();
        if self.is_measured {
            let taken = self.since.elapsed().min(MAX_MEASURED_TURN);
            let rest = state.estimate - state.estimate / ESTIMATE_DIVISOR;
            state.estimate = rest.saturating_add(taken / ESTIMATE_DIVISOR);
        }
        state.queue.finish(self.name);
        state.grant();
    }
}

#[cfg(test)]
mod tests;
