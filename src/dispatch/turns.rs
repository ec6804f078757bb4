//! Turns for requests with a cost, given in the order of asking: slow requests
//! wait here, and fast ones pass by.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::actions::Cost;
use crate::queue::{Begun, Note, Running};

/// Requests that list users or sessions, at a time.
const LISTING_TURNS: usize = 1;

/// Requests that hash imported API tokens, at a time.
const TOKEN_TURNS: usize = 1;

/// The turns there are.
pub struct Turns {
    /// For requests that cost password hashes.
    hashing: Arc<Semaphore>,
    /// For requests that hash imported API tokens.
    tokens: Arc<Semaphore>,
    /// For requests that hold any number of users or sessions in memory.
    listing: Arc<Semaphore>,
    running: Arc<Running>,
}

/// The turn of a request, noted for the case that it ends the process.
pub(super) struct Turn {
    // Struck out before the turn is another's.
    _note: Option<Note>,
    _permit: OwnedSemaphorePermit,
    /// Whether it is over only when the reply is sent.
    pub(super) until_settled: bool,
}

/// No more turns are given.
#[derive(Debug)]
pub(super) struct Closed;

impl Turns {
    /// How many turns there are in all, with so many for hashing.
    #[must_use]
    pub const fn count(hashing: usize) -> usize {
        hashing + TOKEN_TURNS + LISTING_TURNS
    }

    /// So many turns for hashing at a time: somewhat more than there are
    /// hashing threads, so that none is idle while an answer is on its way.
    #[must_use]
    pub fn new(hashing: usize, running: Arc<Running>) -> Self {
        Self {
            hashing: Arc::new(Semaphore::new(hashing.min(Semaphore::MAX_PERMITS))),
            tokens: Arc::new(Semaphore::new(TOKEN_TURNS)),
            listing: Arc::new(Semaphore::new(LISTING_TURNS)),
            running,
        }
    }

    /// Waits for the turn of a request; `None` for one that needs none.
    pub(super) async fn wait(&self, cost: Cost, begun: &mut Begun) -> Result<Option<Turn>, Closed> {
        let (turns, until_settled) = match cost {
            Cost::Light => return Ok(None),
            // One that cannot say is expected to cost hashes.
            Cost::Hash | Cost::Depends => (&self.hashing, false),
            Cost::TokenHashes => (&self.tokens, false),
            Cost::Listing => (&self.listing, true),
        };
        begun.leave_fast();
        let permit = Arc::clone(turns).acquire_owned().await;
        Ok(Some(Turn {
            _permit: permit.map_err(|_| Closed)?,
            _note: self.running.begin_turn(begun.id),
            until_settled,
        }))
    }

    /// Gives no more turns: whoever waits gets none.
    pub(super) fn close(&self) {
        self.hashing.close();
        self.tokens.close();
        self.listing.close();
    }
}
