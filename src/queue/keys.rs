//! Names of all Redis keys that the queue uses.

use std::time::Duration;

use hex::FromHex as _;

use crate::model::DeliveryId;

/// Names of the keys of one queue and one store.
#[derive(Debug, Clone)]
pub struct Keys {
    /// List of requests. Clients push to its right end.
    pub queue: String,
    /// List of dead letters, the newest at its right end, capped at [`DEAD_LETTER_CAP`].
    pub dead: String,
    /// Set of the names of the store's processing lists, so that recovery needs no SCAN.
    pub lists: String,
    /// Id of the store that owns the queue, for [`OWNER_TTL`]. Two stores on one queue would split
    /// the users at random.
    pub owner: String,
    /// Fencing token of the store's last run: scripts of an earlier run do nothing. A clean stop
    /// deletes it.
    pub fence: String,
    /// Id of the store.
    pub store_id: String,
    /// Random ids of the store's runs, in order. The last one is that of this process.
    run_ids: Vec<[u8; 16]>,
    /// Prefix of the names of reply lists.
    pub reply_prefix: String,
    /// Prefix of the names of the store's processing lists.
    processing_prefix: String,
}

/// Identifies a fetched batch: the run that fetched it and its number in that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId {
    /// Random id of the run.
    pub run_id: [u8; 16],
    /// Number of the batch, from 0.
    pub number: u64,
}

impl BatchId {
    /// Returns the batch of a delivery.
    pub(super) const fn of(delivery: &DeliveryId) -> Self {
        Self {
            run_id: delivery.run_id,
            number: delivery.batch,
        }
    }

    /// Returns the id of the entry at a position of the batch's processing list.
    pub(super) const fn delivery(self, position: u32) -> DeliveryId {
        DeliveryId {
            run_id: self.run_id,
            batch: self.number,
            position,
        }
    }
}

/// How long the ownership of a queue lasts without a renewal.
pub const OWNER_TTL: Duration = Duration::from_secs(10);

/// Maximum number of replies in a reply list.
pub const REPLY_LIST_CAP: usize = 16;

/// Maximum number of dead letters in their list.
pub const DEAD_LETTER_CAP: usize = 1_000;

impl Keys {
    /// Returns the keys of a process that serves `queue` for the store `store_id`, in the last of
    /// its runs `run_ids`.
    #[must_use]
    pub fn new(queue: &str, reply_prefix: &str, store_id: &str, run_ids: Vec<[u8; 16]>) -> Self {
        let processing_prefix = format!("{queue}:processing:{store_id}:");
        Self {
            queue: queue.to_owned(),
            dead: format!("{queue}:dead"),
            lists: format!("{queue}:lists:{store_id}"),
            owner: format!("{queue}:owner"),
            fence: format!("{queue}:run:{store_id}"),
            store_id: store_id.to_owned(),
            run_ids,
            reply_prefix: reply_prefix.to_owned(),
            processing_prefix,
        }
    }

    /// Returns the id of the batch of this number in this run.
    #[must_use]
    pub fn batch(&self, number: u64) -> BatchId {
        BatchId {
            run_id: self.run_id(),
            number,
        }
    }

    fn run_id(&self) -> [u8; 16] {
        self.run_ids.last().copied().unwrap_or_default()
    }

    /// Returns the id of this run in hexadecimal, as scripts compare it with the fence.
    #[must_use]
    pub(super) fn fencing_token(&self) -> String {
        hex::encode(self.run_id())
    }

    /// Returns whether a fencing token is that of a run of this store.
    #[must_use]
    pub(super) fn is_own_token(&self, token: &str) -> bool {
        <[u8; 16]>::from_hex(token).is_ok_and(|run_id| self.order(&run_id).is_some())
    }

    /// Returns the position of a run among the runs of the store.
    #[must_use]
    pub(super) fn order(&self, run_id: &[u8; 16]) -> Option<usize> {
        self.run_ids.iter().position(|known| known == run_id)
    }

    /// Returns the name of the processing list of a batch. No name is ever used twice.
    #[must_use]
    pub(super) fn processing_list(&self, batch: BatchId) -> String {
        let run_id = hex::encode(batch.run_id);
        format!("{}{run_id}:{}", self.processing_prefix, batch.number)
    }

    /// Parses the name of a processing list of this store.
    #[must_use]
    pub(super) fn parse_processing_list(&self, name: &str) -> Option<BatchId> {
        let suffix = name.strip_prefix(&self.processing_prefix)?;
        let (token, number) = suffix.split_once(':')?;
        let run_id = <[u8; 16]>::from_hex(token).ok()?;
        let number = number.parse().ok()?;
        Some(BatchId { run_id, number })
    }

    /// Returns the name of the list that holds a long reply until its delivery is acknowledged.
    #[must_use]
    pub(super) fn staged(&self, id: &DeliveryId) -> String {
        format!(
            "{}:staged:{}:{}",
            self.queue,
            self.fencing_token(),
            hex::encode(id.to_bytes())
        )
    }

    /// Returns the name of the key on which the permissions of the daemon's user are tried. It
    /// exists only during the trial.
    #[must_use]
    pub(super) fn probe(&self) -> String {
        format!("{}:probe:{}", self.queue, self.fencing_token())
    }

    /// Returns the names of all keys that outlast a round trip, with what they hold. The id of a
    /// store, a run or a request is a placeholder.
    #[must_use]
    pub fn documentation(&self) -> [(String, &'static str); 8] {
        let processing = format!("{}<run>:<n>", self.processing_prefix);
        let staged = format!("{}:staged:<run>:<delivery>", self.queue);
        [
            (
                self.queue.clone(),
                "list of requests; clients push to its right end",
            ),
            (
                self.reply("<id>"),
                "list of the replies to the request of that id",
            ),
            (
                self.dead.clone(),
                "list of dead letters, the newest at its right end",
            ),
            (
                processing,
                "list of the messages of a batch until they are acknowledged",
            ),
            (self.lists.clone(), "set of the names of those lists"),
            (self.owner.clone(), "id of the store that owns the queue"),
            (
                self.fence.clone(),
                "id of that store's last run: scripts of an earlier run do nothing",
            ),
            (staged, "long reply until its request is acknowledged"),
        ]
    }

    /// Returns the name of the reply list of a request.
    #[must_use]
    pub fn reply(&self, id: &str) -> String {
        format!("{}{id}", self.reply_prefix)
    }
}
