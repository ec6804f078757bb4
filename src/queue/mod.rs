//! The queue: takes messages off a Redis list, hands them to a [`Handler`],
//! and settles what becomes of them. It does not know what the bytes mean.
//!
//! # Data structures
//!
//! Every key is named in `keys.rs`; every step that touches more than one of
//! them is one script in `scripts.rs`, so that no crash falls in between.
//!
//! - A message is never popped: the taking script moves a batch of them from
//!   the queue into a list of its own, `<queue>:processing:<store id>:<boot
//!   id>:<n>`, and notes that list's name in the set `<queue>:lists:<store
//!   id>`. An entry is a message. The list is read by the command behind the
//!   script.
//! - The settling script pushes an entry's reply (or dead letter) and marks the
//!   entry as settled, in one step. Positions stay; the list goes with its last
//!   entry.
//! - While the queue is empty, a blocking `BLMOVE` waits on it that moves its
//!   first message to where it is: it takes nothing, it only waits.
//! - At start, what is found in the lists of this store is run again: nobody
//!   else works on them, because one store has one daemon. An entry keeps its
//!   list and position, which are its delivery id: an effect that it had is
//!   known by it, and it is answered from that instead of being run.
//! - `<queue>:owner` holds the id of the store that works on the queue. The
//!   taking script takes and renews it, and moves nothing under another's.
//! - `<queue>:run:<store id>` holds the id of the store's last run: scripts of
//!   an earlier one, which may arrive late, do nothing.
//! - `running` in the working directory names what is being worked on
//!   (`running.rs`): what may have been the end of the process is run alone.

mod acker;
mod availability;
mod budget;
mod crash_journal;
mod dead_letter_log;
mod executor;
mod fetcher;
mod keys;
mod link;
mod recovery;
mod refused;
mod rights;
mod scripts;
mod settling;
mod staging;
mod take_over;
mod taking;
mod unread;
mod worker;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::model::DeliveryId;

pub use self::crash_journal::{CrashJournal, JournalEntry, LeftEntries, Suspect};
pub use self::executor::DeliveryContext;
pub use self::keys::{Keys, OWNER_TTL};
pub use self::unread::{UnreadReplies, UnreadShare};
pub use self::worker::{Settings, Status, Worker};

/// Works on messages.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Works on one message and says what is to become of it.
    async fn handle(
        self: Arc<Self>,
        context: &mut DeliveryContext,
        message: Vec<u8>,
    ) -> Disposition;

    /// Says what is to become of a message that ended the process each time it
    /// ran. With `unread` even reading it may be what does it.
    async fn quarantine(&self, id: &DeliveryId, message: &[u8], unread: bool) -> Disposition;

    /// All that an earlier process left has been started; these are its
    /// messages that were open.
    fn taken_over(&self, open: &HashSet<DeliveryId>);

    /// These deliveries are settled: nobody will ask for their outcomes.
    fn settled(&self, deliveries: Vec<DeliveryId>);

    /// The dead letter of a message too long to be fetched, up to its length:
    /// Redis adds the number and a closing brace.
    fn over_long_prefix(&self) -> String;

    /// The dead letter of a reply that Redis refuses, up to its id: Redis adds
    /// that and a closing brace.
    fn undeliverable_prefix(&self) -> String;

    /// The dead letter of a reply that Redis will never take.
    fn undeliverable(&self, id: &str) -> Option<DeadLetter>;
}

/// What is to become of a message.
#[derive(Debug)]
pub enum Disposition {
    /// It is done with.
    Finished(Finished),
    /// It was not started: it goes back to the head of the queue.
    Requeue,
    /// Nobody knows what became of it: it stays where it is, for the next
    /// start to look at.
    Unresolved,
}

/// A message that is done with.
pub struct Finished {
    /// The reply, where one is due.
    pub reply: Option<Reply>,
    /// What is kept of a message that could not be run.
    pub dead_letter: Option<DeadLetter>,
    /// Whether there may be an outcome to forget once it is settled.
    pub left_outcome: bool,
    /// What is held until then, such as a turn that bounds memory.
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

/// A reply and where it goes.
pub struct Reply {
    /// Ends the name of the reply list.
    pub id: String,
    /// The bytes; they may hold a session token.
    pub bytes: Arc<Vec<u8>>,
    /// The list in Redis in which they are already, where they are long.
    staged: Option<String>,
    /// Counts them as unread once they are sent.
    #[expect(dead_code, reason = "held, not read")]
    share: Option<UnreadShare>,
}

impl Reply {
    /// The bytes go to the reply list of that id.
    #[must_use]
    pub fn new(id: &str, bytes: Vec<u8>) -> Self {
        Self {
            id: id.to_owned(),
            bytes: Arc::new(bytes),
            staged: None,
            share: None,
        }
    }

    /// The same, counted among what is unread.
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
    /// Why, for the log.
    pub reason: String,
    /// The entry.
    pub bytes: Vec<u8>,
}
