//! Replies whose lists Redis refuses to the daemon's user (`NOPERM`). Where it refuses all lists,
//! the replies wait for the permission. Where it refuses a single list, that reply becomes a dead
//! letter, because clients choose the names of their lists.
//!
//! Such an entry waits beside the others. It is retried once the list of a random name may be
//! written, or any other reply was delivered, and becomes undeliverable if it is refused again.

use std::time::{Duration, Instant};

use redis::RedisResult;
use tracing::warn;

use super::acker::{Acker, REPLYING};
use super::permissions;

/// What fails while Redis refuses all reply lists, in the log.
const WRITING_REPLY_LISTS: &str = "writing to reply lists";
/// Minimum interval between warnings of it. Where the daemon may write some lists only, any client
/// can cause it, and any delivered reply ends it.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl Acker {
    /// Retries the refused replies once the daemon may write reply lists. A list that Redis still
    /// refuses then is undeliverable.
    pub(super) async fn retry_refused(&mut self) {
        // A reply that was delivered meanwhile answers the question.
        let writable = std::mem::take(&mut self.delivered)
            || match self.may_reply().await {
                Ok(writable) => {
                    self.reports.works(REPLYING);
                    writable
                }
                Err(error) => return self.failed(&error),
            };
        if !writable {
            if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                self.warned = Some(Instant::now());
                let right = format!("~{}*", self.settings.keys.reply_prefix);
                self.reports
                    .refused(WRITING_REPLY_LISTS, &permissions::describe(&right));
            }
            return;
        }
        for single in std::mem::take(&mut self.refused) {
            let mut groups = vec![single];
            if let Err(error) = self.try_to_acknowledge(&mut groups).await
                && permissions::is_about_keys(&error)
            {
                for group in &mut groups {
                    self.give_up(group);
                }
            }
            self.acknowledge(groups).await;
        }
        if self.refused.is_empty() {
            self.reports.works(WRITING_REPLY_LISTS);
        }
    }

    async fn may_reply(&mut self) -> RedisResult<bool> {
        let mut connection = self.connect().await?;
        // Without a permission for the queue itself, all lists seem refused.
        permissions::check(&mut connection, &self.settings.keys).await?;
        let keys = &self.settings.keys;
        if permissions::cover_reply_list(&mut connection, keys, &keys.fencing_token()).await? {
            return Ok(true);
        }
        // Where the daemon may write some lists only, a list of a random name proves nothing.
        match &self.last_delivered {
            Some(id) => permissions::cover_reply_list(&mut connection, keys, id).await,
            None => Ok(false),
        }
    }

    /// Tries refused replies for the last time. Those that are still refused stay in the processing
    /// lists.
    pub(super) async fn leave_refused(&mut self) {
        if !self.refused.is_empty() {
            self.retry_refused().await;
        }
        if !self.refused.is_empty() {
            warn!(
                count = self.refused.len(),
                "Redis refused replies: the next start sends them"
            );
        }
    }
}
