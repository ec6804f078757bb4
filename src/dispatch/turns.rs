//! Turns for requests with a cost: slow requests wait here, and fast ones pass
//! by.
//!
//! Each class of slow requests has a queue of its own, in which names take
//! turns (`fair_queue.rs`). A request that cannot be served in useful time is
//! refused at once: nobody waits for its answer any more when its turn comes,
//! and it would only keep others waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fair_queue::{FairQueue, Ticket};
use crate::actions::Cost;
use crate::model::NameHash;
use crate::queue::{CrashJournal, DeliveryContext, JournalEntry};

/// Requests that list users, at a time.
const LISTING_TURNS: usize = 1;

/// Requests that list the sessions of a user, at a time.
const SESSIONS_TURNS: usize = 1;

/// Requests that hash imported API tokens, at a time.
const TOKEN_TURNS: usize = 1;

/// Requests of a class that may wait however long that takes.
const ALWAYS_WAITING: usize = 64;

/// Most bytes of requests that wait for a turn to hash; 32 MiB with those of the
/// three other classes. Those that always wait take less than a part of either.
const HASHING_BYTES: usize = 20 << 20;
/// The same for each other class.
const OTHER_BYTES: usize = 4 << 20;

/// What a request that waits takes besides its message and what was decoded of
/// it: mostly the future that runs it.
const WAITING_OVERHEAD: usize = 2 << 10;

/// How long a turn is expected to take while none has been measured.
const FIRST_ESTIMATE: Duration = Duration::from_millis(100);

/// The longest turn that counts in full: one that lasts until its reply is sent
/// may have waited for Redis.
const LONGEST_TURN: Duration = Duration::from_secs(5);

/// The weight of the newest measurement in the estimate is one in this many.
const ESTIMATE_OVER: u32 = 8;

/// The longest time after which a refused client is told to try again.
const MAX_RETRY_SECONDS: u64 = 60;

/// The turns there are.
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
    running: Arc<CrashJournal>,
}

/// The turns for requests of one cost.
struct Class {
    turns: usize,
    /// Most bytes of requests that wait.
    max_bytes: usize,
    /// The same for a request whose name waits already, so that a flood under one
    /// name leaves room for others.
    max_bytes_of_waiting_name: usize,
    state: Mutex<State>,
}

struct State {
    queue: FairQueue<oneshot::Sender<Instant>>,
    /// Bytes of the requests that wait.
    waiting_bytes: usize,
    /// How long a turn takes, as an exponential moving average.
    estimate: Duration,
    closed: bool,
}

/// The turn of a request, noted for the case that it ends the process.
pub(super) struct Turn {
    // Struck out before the turn is another's.
    _note: Option<JournalEntry>,
    permit: Permit,
    /// Whether it is over only when the reply is sent.
    pub(super) until_settled: bool,
}

impl Turn {
    /// Says that the work was done that the class is for, so that the length of
    /// this turn counts in the estimate. The turn of a throttled login, for
    /// example, is far shorter than that of one that is hashed.
    pub(super) const fn did_its_work(&mut self) {
        self.permit.counts = true;
    }
}

/// Why a request gets no turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// No more turns are given.
    Closed,
    /// Its turn would come too late. Worth another try in so many seconds.
    Busy(u64),
}

impl Turns {
    /// How many turns there are in all, with so many for hashing.
    #[must_use]
    pub const fn count(hashing: usize) -> usize {
        hashing + TOKEN_TURNS + LISTING_TURNS + SESSIONS_TURNS
    }

    /// So many turns for hashing at a time: somewhat more than there are
    /// hashing threads, so that none is idle while an answer is on its way.
    /// Requests that would wait for more than `max_wait` are refused.
    #[must_use]
    pub fn new(hashing: usize, max_wait: Duration, running: Arc<CrashJournal>) -> Self {
        Self {
            hashing: Class::new(hashing, HASHING_BYTES, HASHING_BYTES / 2),
            tokens: Class::new(TOKEN_TURNS, OTHER_BYTES, OTHER_BYTES / 2),
            // All of these wait under one name, which is empty.
            listing: Class::new(LISTING_TURNS, OTHER_BYTES, OTHER_BYTES),
            sessions: Class::new(SESSIONS_TURNS, OTHER_BYTES, OTHER_BYTES / 2),
            max_wait,
            running,
        }
    }

    /// Waits for the turn of a request; `None` for one that needs none.
    /// `name` is the name that it takes turns under.
    pub(super) async fn wait(
        &self,
        cost: Cost,
        name: impl FnOnce() -> NameHash,
        context: &mut DeliveryContext,
    ) -> Result<Option<Turn>, NoTurn> {
        let (class, until_settled) = match cost {
            Cost::Light => return Ok(None),
            // One that cannot say is expected to cost hashes.
            Cost::Hash | Cost::Depends => (&self.hashing, false),
            Cost::TokenHashes => (&self.tokens, false),
            Cost::Listing => (&self.listing, true),
            Cost::Sessions => (&self.sessions, true),
        };
        let waiter = self.queue_up(class, name(), context.bytes())?;
        context.leave_fast();
        let permit = waiter.permit().await.ok_or(NoTurn::Closed)?;
        Ok(Some(Turn {
            permit,
            _note: self.running.begin_turn(context.id),
            until_settled,
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
        if too_much && state.queue.waiting() > ALWAYS_WAITING {
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

    /// Gives no more turns: what waits gets none.
    pub(super) fn close(&self) {
        for class in [&self.hashing, &self.tokens, &self.listing, &self.sessions] {
            let mut state = class.lock();
            state.closed = true;
            // Dropping a sender wakes its waiter, which finds it closed.
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

    /// How long a new request of a name is expected to wait. It depends on what
    /// waits, and on nothing that the store knows of the name.
    fn expected_wait(&self, state: &State, name: &NameHash) -> Duration {
        let ahead = state.queue.ahead(name);
        let rounds = |requests: usize, turns: usize| {
            let requests = u32::try_from(requests).unwrap_or(u32::MAX);
            let turns = u32::try_from(turns.max(1)).unwrap_or(u32::MAX);
            state.estimate.saturating_mul(requests) / turns
        };
        // One name does not get all turns, even where no other waits.
        let of_name = rounds(ahead.of_name, state.queue.max_turns_of_name());
        rounds(ahead.total, self.turns).max(of_name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the free turns to those who wait.
    fn grant(&mut self) {
        while let Some(sender) = self.queue.start() {
            // A waiter that is gone has left the queue, under this lock.
            let _ = sender.send(Instant::now());
        }
    }

    fn measured(&mut self, taken: Duration) {
        let rest = self.estimate - self.estimate / ESTIMATE_OVER;
        self.estimate = rest.saturating_add(taken / ESTIMATE_OVER);
    }
}

/// Waits for a turn. Dropping it leaves the queue, or gives the turn back that
/// has come meanwhile.
struct Waiter {
    class: Arc<Class>,
    ticket: Ticket,
    granted: oneshot::Receiver<Instant>,
    bytes: usize,
}

impl Waiter {
    /// The turn; `None` where no more are given.
    async fn permit(mut self) -> Option<Permit> {
        let since = (&mut self.granted).await.ok()?;
        Some(Permit {
            class: Arc::clone(&self.class),
            name: self.ticket.name(),
            since,
            counts: false,
        })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.class.lock();
        state.waiting_bytes -= self.bytes;
        if state.queue.cancel(&self.ticket).is_none() && self.granted.try_recv().is_ok() {
            state.queue.finish(self.ticket.name());
            state.grant();
        }
    }
}

/// The right to a turn; dropping it gives the turn to the next one.
struct Permit {
    class: Arc<Class>,
    name: NameHash,
    since: Instant,
    counts: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.class.lock();
        if self.counts {
            state.measured(self.since.elapsed().min(LONGEST_TURN));
        }
        state.queue.finish(self.name);
        state.grant();
    }
}

#[cfg(test)]
mod tests;
