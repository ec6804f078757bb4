//! Every key that is used in Redis.

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
    /// List that the blocking command moves to, unnumbered: never started.
    pub taking: String,
    /// Beginning of the reply lists' names.
    pub reply_prefix: String,
    /// Beginning of the names of this process' processing lists.
    batch_prefix: String,
}

/// Most dead letters that are kept.
pub const DEAD_LETTER_CAP: usize = 1_000;

impl Keys {
    /// The keys of a process that works on `queue` for the store `store_id`,
    /// in its run `boot_id`.
    #[must_use]
    pub fn new(queue: &str, reply_prefix: &str, store_id: &str, boot_id: &str) -> Self {
        let processing = format!("{queue}:processing:{store_id}");
        Self {
            queue: queue.to_owned(),
            dead: format!("{queue}:dead"),
            lists: format!("{queue}:lists:{store_id}"),
            taking: format!("{processing}:taking"),
            reply_prefix: reply_prefix.to_owned(),
            batch_prefix: format!("{processing}:{boot_id}:"),
        }
    }

    /// Processing list of the batch `number`. No name is ever used twice.
    #[must_use]
    pub(super) fn batch(&self, number: u64) -> String {
        format!("{}{number}", self.batch_prefix)
    }

    /// Reply list of a request.
    #[must_use]
    pub fn reply(&self, id: &str) -> String {
        format!("{}{id}", self.reply_prefix)
    }
}
