//! Every key that is used in Redis.

use std::time::Duration;

use crate::model::DeliveryId;

/// The names of the keys of one queue and one store.
#[derive(Debug, Clone)]
pub struct Keys {
    /// List of requests; clients push to its right end.
    pub queue: String,
    /// List of dead letters, the newest at its right end, capped at
    /// [`DEAD_LETTER_CAP`].
    pub dead: String,
    /// Set of the names of the store's processing lists, so that recovery
    /// needs no SCAN.
    pub lists: String,
    /// Holds the id of the store that works on the queue, for
    /// [`OWNER_TTL`]: two stores on one queue would split the users at random.
    pub owner: String,
    /// Id of the store's last run: scripts of an earlier one do nothing. (It
    /// goes with a clean stop.)
    pub fence: String,
    /// Id of the store.
    pub store_id: String,
    /// Random ids of the store's runs in order; this process' is the last.
    runs: Vec<[u8; 16]>,
    /// Beginning of the reply lists' names.
    pub reply_prefix: String,
    /// Beginning of the names of the store's processing lists.
    processing_prefix: String,
}

/// How long the ownership of a queue outlasts its owner.
pub const OWNER_TTL: Duration = Duration::from_secs(10);

/// Most dead letters that are kept.
pub const DEAD_LETTER_CAP: usize = 1_000;

impl Keys {
    /// The keys of a process that works on `queue` for the store `store_id`,
    /// in the last of its `runs`.
    #[must_use]
    pub fn new(queue: &str, reply_prefix: &str, store_id: &str, runs: Vec<[u8; 16]>) -> Self {
        let processing_prefix = format!("{queue}:processing:{store_id}:");
        Self {
            queue: queue.to_owned(),
            dead: format!("{queue}:dead"),
            lists: format!("{queue}:lists:{store_id}"),
            owner: format!("{queue}:owner"),
            fence: format!("{queue}:run:{store_id}"),
            store_id: store_id.to_owned(),
            runs,
            reply_prefix: reply_prefix.to_owned(),
            processing_prefix,
        }
    }

    /// Random id of this process' run.
    #[must_use]
    pub fn boot(&self) -> [u8; 16] {
        self.runs.last().copied().unwrap_or_default()
    }

    /// The same in hexadecimal, as scripts compare it.
    #[must_use]
    pub(super) fn run(&self) -> String {
        hex::encode(self.boot())
    }

    /// Whether a fence is that of a run of this store.
    #[must_use]
    pub(super) fn knows(&self, fence: &str) -> bool {
        let mut run = [0; 16];
        hex::decode_to_slice(fence, &mut run).is_ok() && self.order(&run).is_some()
    }

    /// Where a run stands among the runs of the store.
    #[must_use]
    pub(super) fn order(&self, boot: &[u8; 16]) -> Option<usize> {
        self.runs.iter().position(|run| run == boot)
    }

    /// Processing list of a batch. No name is ever used twice.
    #[must_use]
    pub(super) fn batch(&self, boot: [u8; 16], number: u64) -> String {
        format!("{}{}:{number}", self.processing_prefix, hex::encode(boot))
    }

    /// The run and the number of the batch in a processing list's name.
    #[must_use]
    pub(super) fn parse_batch(&self, list: &str) -> Option<([u8; 16], u64)> {
        let (boot, number) = list
            .strip_prefix(&self.processing_prefix)?
            .split_once(':')?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(boot, &mut bytes).ok()?;
        Some((bytes, number.parse().ok()?))
    }

    /// List in which a long reply waits for its delivery to be settled.
    #[must_use]
    pub(super) fn staged(&self, id: &DeliveryId) -> String {
        format!(
            "{}:staged:{}:{}",
            self.queue,
            self.run(),
            hex::encode(id.to_bytes())
        )
    }

    /// Key on which rights are tried out. It never outlasts that.
    #[must_use]
    pub(super) fn probe(&self) -> String {
        format!("{}:probe:{}", self.queue, self.run())
    }

    /// Reply list of a request.
    #[must_use]
    pub fn reply(&self, id: &str) -> String {
        format!("{}{id}", self.reply_prefix)
    }
}
