//! The queue: fetches messages off a Redis list, passes them to a [`Handler`], and acknowledges
//! them. It does not know what the bytes mean.
//!
//! # Data structures in Redis
//!
//! `keys.rs` names every key. Every step that touches more than one key is one script, so that no
//! crash falls in between.
//!
//! - Fetching moves a batch of messages from the queue into a *processing list* of its own,
//!   `<queue>:processing:<store id>:<run id>:<n>`, and adds that list's name to the set
//!   `<queue>:lists:<store id>`. An entry of the list is a message. The command behind the script
//!   reads the list.
//! - Acknowledging pushes an entry's reply (or dead letter) and marks the entry as acknowledged, in
//!   one step. Positions stay. The list is deleted with its last open entry.
//! - While the queue is empty, a blocking `BLMOVE` moves its first message to where it is: the
//!   command only waits.
//! - At start, recovery runs what it finds in the lists of this store. No other process runs them,
//!   because one store has one daemon. An entry keeps its list and its position, which are its
//!   delivery id. No delivery id is used twice, because the run id is random. The store knows the
//!   effects of a delivery by that id, so that a redelivered request that had its effect gets its
//!   reply from there and does not run again.
//! - `<queue>:owner` holds the id of the store that owns the queue, for ten seconds. The fetching
//!   script acquires and renews it, and moves nothing while another store owns the queue. Two
//!   stores on one queue would split the users at random.
//! - `<queue>:run:<store id>` holds the id of the store's last run as a *fencing token*: scripts of
//!   an earlier run, which may arrive minutes late, do nothing. The fetcher writes it anew on each
//!   connection, because a Redis that went back in time has an older one. It does not replace the
//!   token of a run that the store does not know: that run belongs to a daemon on a copy of the
//!   working directory.
//!
//! The crash journal, the file `running` in the working directory, names what is running, so that
//! recovery runs alone what may have ended the process (`crash_journal.rs`, `recovery.rs`).
//!
//! # The path of a message
//!
//! `fetcher.rs` (a state machine, see `State`) → `executor.rs` → [`Handler`] → `acker.rs`. A
//! `Delivery` carries the message's id, its processing list and its share of the budget.
//!
//! # Redis that fails
//!
//! - A connection that returned an error may still have a command on its way: `link.rs` closes it
//!   in Redis before the next one is used.
//! - A fetch whose answer never came may have made its batch: `recovery.rs` looks it up.
//! - Redis short of memory: `scripts.rs`. Replies that Redis never accepts: `acker.rs`.
//! - Missing permissions: `permissions.rs`, `refused.rs`.
//! - Replies that clients do not read: `unread.rs`.

mod ack;
mod acker;
mod budget;
mod crash_journal;
mod delivery;
mod executor;
mod fetch;
mod fetcher;
mod keys;
mod left_list;
mod link;
mod permissions;
mod recovery;
mod refused;
mod reports;
mod scripts;
mod staging;
mod unread;
mod worker;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::model::DeliveryId;

pub use self::crash_journal::{CrashJournal, JournalEntry, LeftEntries, Suspect};
pub use self::delivery::Delivery;
pub use self::keys::{BatchId, DEAD_LETTER_CAP, Keys, OWNER_TTL, REPLY_LIST_CAP};
pub use self::unread::{UnreadReplies, UnreadShare};
pub use self::worker::{Settings, Status, Worker};

/// Runs messages.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Runs one message and returns its disposition.
    async fn handle(self: Arc<Self>, delivery: &mut Delivery, message: Vec<u8>) -> Disposition;

    /// Returns the disposition of a message that ended the process each time it ran. Unless the
    /// message was `decoded`, decoding it may be the cause.
    async fn quarantine(&self, id: &DeliveryId, message: &[u8], decoded: bool) -> Disposition;

    /// Called once recovery has started everything that an earlier process left: its messages that
    /// were `open`.
    fn recovered(&self, open: &HashSet<DeliveryId>);

    /// Called when deliveries are acknowledged: their outcomes can be forgotten.
    fn acknowledged(&self, deliveries: Vec<DeliveryId>);

    /// Returns the beginning of the dead letter of a message that is too long to be fetched, up to
    /// its length. Redis adds the length and a closing brace.
    fn too_long_prefix(&self) -> String;

    /// Returns the beginning of the dead letter of a reply that Redis refuses, up to its id. Redis
    /// adds the id and a closing brace.
    fn undeliverable_prefix(&self) -> String;

    /// Returns the dead letter of a reply that Redis never accepts.
    fn undeliverable(&self, id: &str) -> Option<DeadLetter>;
}

/// What happens to a message after its run.
#[derive(Debug)]
pub enum Disposition {
    /// It is acknowledged.
    Finished(Finished),
    /// It was not started and returns to the head of the queue.
    Requeue,
    /// Its effect is unknown. It stays in its processing list for the next start.
    Unresolved,
}

/// A message whose run is complete.
pub struct Finished {
    /// The reply, where one is due.
    pub reply: Option<Reply>,
    /// The dead letter of a message that could not run.
    pub dead_letter: Option<DeadLetter>,
    /// Whether the store may have an outcome to forget once the message is acknowledged.
    pub left_outcome: bool,
    /// Dropped once the message is acknowledged, such as a turn that bounds memory.
    pub held: Option<Box<dyn Send>>,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Finished")
            .field("reply", &self.reply)
            .field("dead_letter", &self.dead_letter)
            .field("left_outcome", &self.left_outcome)
            .finish_non_exhaustive()
    }
}

/// A reply and its destination.
pub struct Reply {
    /// Suffix of the reply list's name.
    pub id: String,
    /// The bytes. They may contain a session token.
    pub bytes: Arc<Vec<u8>>,
    /// The list that holds the bytes already, if the reply is staged.
    staged: Option<String>,
    /// Counts the bytes as unread once they are sent.
    #[expect(dead_code, reason = "held, not read")]
    share: Option<UnreadShare>,
}

impl Reply {
    /// Returns a reply to the reply list of an id.
    #[must_use]
    pub fn new(id: &str, bytes: Vec<u8>) -> Self {
        Self {
            id: id.to_owned(),
            bytes: Arc::new(bytes),
            staged: None,
            share: None,
        }
    }

    /// Counts the reply among the unread ones.
    #[must_use]
    pub fn counted(self, share: Option<UnreadShare>) -> Self {
        Self { share, ..self }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An entry for the dead-letter list.
#[derive(Debug)]
pub struct DeadLetter {
    /// Reason, for the log.
    pub reason: String,
    /// The entry.
    pub bytes: Vec<u8>,
}
