//! Replies whose lists Redis refuses to this user. Where it refuses all lists,
//! they wait for the right to them; where it refuses a single one, that reply is
//! given up, because clients choose the names of their lists.

use std::time::{Duration, Instant};

use redis::RedisResult;
use tracing::warn;

use super::acker::{Acker, SETTLING};
use super::rights;

/// What does not work while all reply lists are refused, in the log.
const REPLYING: &str = "writing to reply lists";
/// How often that is said at most. Where the daemon has the right to some lists
/// only, any client can cause it, and any reply that was or is delivered ends it.
const TELL_EVERY: Duration = Duration::from_secs(60);

impl Acker {
    /// Tries again to send the replies that were refused, once reply lists can be
    /// written: a list that is still refused then is a fault of its own.
    pub(super) async fn retry_refused(&mut self) {
        // A reply that was delivered meanwhile says the same as the question.
        let writable = std::mem::take(&mut self.delivered)
            || match self.may_reply().await {
                Ok(writable) => {
                    self.availability.works(SETTLING);
                    writable
                }
                Err(error) => return self.failed(&error),
            };
        if !writable {
            if self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                self.told = Some(Instant::now());
                let right = format!("~{}*", self.settings.keys.reply_prefix);
                self.availability
                    .refused(REPLYING, &rights::describe(&right));
            }
            return;
        }
        for single in std::mem::take(&mut self.refused) {
            let mut groups = vec![single];
            if let Some(error) = self.try_to_settle(&mut groups).await
                && rights::is_about_keys(&error)
            {
                for group in &mut groups {
                    self.give_up(group);
                }
            }
            self.settle_groups(groups).await;
        }
        if self.refused.is_empty() {
            self.availability.works(REPLYING);
        }
    }

    async fn may_reply(&mut self) -> RedisResult<bool> {
        let mut connection = self.connect().await?;
        // Behind a right of our own that is missing, all lists seem refused.
        rights::check(&mut connection, &self.settings.keys).await?;
        let keys = &self.settings.keys;
        if rights::cover_reply_list(&mut connection, keys, &keys.run()).await? {
            return Ok(true);
        }
        // With the right to some lists only, one of a random name says nothing.
        match &self.last_delivered {
            Some(id) => rights::cover_reply_list(&mut connection, keys, id).await,
            None => Ok(false),
        }
    }

    /// At the end: their entries stay in the processing lists.
    pub(super) async fn leave_refused(&mut self) {
        if !self.refused.is_empty() {
            self.retry_refused().await;
        }
        if !self.refused.is_empty() {
            warn!(
                count = self.refused.len(),
                "replies that Redis refuses were not sent: the next start does"
            );
        }
    }
}
