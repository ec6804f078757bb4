//! Long replies in Redis that nobody has read yet. A request of some bytes can
//! have a reply of megabytes, which is kept for `reply_ttl`: without a bound,
//! clients could fill the memory of Redis.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::Mutex as AsyncMutex;
use tracing::{debug, warn};

use crate::redis::{ANSWER_TIMEOUT, Connector};

/// Most bytes of long replies that are unread. A single reply may be longer.
const MAX_UNREAD_BYTES: usize = 64 << 20;
/// Bytes from which a reply is counted.
const COUNTED: usize = 4 << 10;
/// How often Redis is asked at most which replies have been read.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the log repeats that replies are refused.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts the bytes of long replies that this process has made, until they are
/// read or expire.
pub struct UnreadReplies {
    connector: Connector,
    reply_prefix: String,
    reply_ttl: Duration,
    counts: Mutex<Counts>,
    /// Held while Redis is asked: others wait for what that look finds.
    looking: AsyncMutex<()>,
}

#[derive(Default)]
struct Counts {
    /// All bytes, those that are not sent yet included.
    bytes: usize,
    /// Replies that were sent, the oldest first.
    sent: VecDeque<Sent>,
    looked: Option<Instant>,
    warned: Option<Instant>,
}

struct Sent {
    id: String,
    bytes: usize,
    at: Instant,
}

/// The share of one reply. Dropping it says that the reply was sent.
pub struct UnreadShare {
    replies: Arc<UnreadReplies>,
    id: String,
    bytes: usize,
}

impl UnreadReplies {
    /// Counts none yet: what an earlier process has sent is not known.
    #[must_use]
    pub fn new(connector: Connector, reply_prefix: &str, reply_ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            reply_prefix: reply_prefix.to_owned(),
            reply_ttl,
            counts: Mutex::default(),
            looking: AsyncMutex::default(),
        })
    }

    /// Counts a reply of so many bytes to the list of an id; `None` for a short
    /// one.
    ///
    /// # Errors
    /// When too much is unread: how long it takes until enough has expired.
    pub async fn count(
        self: &Arc<Self>,
        id: &str,
        bytes: usize,
    ) -> Result<Option<UnreadShare>, Duration> {
        if bytes < COUNTED {
            return Ok(None);
        }
        if !self.find_room(bytes).await {
            return Err(self.refuse(bytes));
        }
        Ok(Some(self.share(id, bytes)))
    }

    /// The same for a reply that goes out in any case: where there is no room, it
    /// is others that find none.
    pub async fn count_in_any_case(
        self: &Arc<Self>,
        id: &str,
        bytes: usize,
    ) -> Option<UnreadShare> {
        if bytes < COUNTED {
            return None;
        }
        if !self.find_room(bytes).await {
            self.counts().bytes += bytes;
        }
        Some(self.share(id, bytes))
    }

    fn share(self: &Arc<Self>, id: &str, bytes: usize) -> UnreadShare {
        UnreadShare {
            replies: Arc::clone(self),
            id: id.to_owned(),
            bytes,
        }
    }

    /// Whether there was room, or is some after a look.
    async fn find_room(&self, bytes: usize) -> bool {
        if self.take(bytes) {
            return true;
        }
        // On the heap, as this is rare: the work on every request has room for it.
        Box::pin(self.look_and_take(bytes)).await
    }

    async fn look_and_take(&self, bytes: usize) -> bool {
        let _looking = self.looking.lock().await;
        // An earlier look may have found some meanwhile.
        if self.take(bytes) {
            return true;
        }
        self.look().await;
        self.take(bytes)
    }

    /// Whether there was room.
    fn take(&self, bytes: usize) -> bool {
        let mut counts = self.counts();
        let fits = counts.bytes == 0 || counts.bytes + bytes <= MAX_UNREAD_BYTES;
        if fits {
            counts.bytes += bytes;
        }
        fits
    }

    /// Forgets the replies that are no longer in their lists.
    async fn look(&self) {
        let sent = {
            let mut counts = self.counts();
            if counts.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return;
            }
            counts.looked = Some(Instant::now());
            std::mem::take(&mut counts.sent)
        };
        if sent.is_empty() {
            return;
        }
        let lengths = self.lengths(&sent).await.unwrap_or_else(|error| {
            debug!(%error, "whether long replies were read is not known");
            Vec::new()
        });
        let is_unread = are_unread(&sent, &lengths, self.reply_ttl);
        let mut unread = VecDeque::with_capacity(sent.len());
        let mut gone = 0;
        for (reply, is_unread) in sent.into_iter().zip(is_unread) {
            if is_unread {
                unread.push_back(reply);
            } else {
                gone += reply.bytes;
            }
        }
        let mut counts = self.counts();
        let newer = std::mem::replace(&mut counts.sent, unread);
        counts.sent.extend(newer);
        counts.bytes -= gone;
    }

    /// Asks for the lengths of the lists that replies were sent to.
    async fn lengths(&self, sent: &VecDeque<Sent>) -> RedisResult<Vec<RedisResult<usize>>> {
        let mut connection = self
            .connector
            .connect(CONNECT_TIMEOUT, ANSWER_TIMEOUT)
            .await?;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for reply in sent {
            let list = format!("{}{}", self.reply_prefix, reply.id);
            pipe.cmd("LLEN").arg(list);
        }
        pipe.query_async(&mut connection).await
    }

    /// How long it takes until there is room, if nothing is read.
    fn refuse(&self, bytes: usize) -> Duration {
        let mut counts = self.counts();
        if counts.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            counts.warned = Some(Instant::now());
            warn!(
                unread_bytes = counts.bytes,
                "long replies lie unread in Redis: requests for more of them get an error"
            );
        }
        let mut left = counts.bytes;
        let enough = counts.sent.iter().find(|reply| {
            left -= reply.bytes;
            left == 0 || left + bytes <= MAX_UNREAD_BYTES
        });
        enough.map_or(Duration::ZERO, |reply| {
            self.reply_ttl.saturating_sub(reply.at.elapsed())
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the replies are still in their lists, given the length of each one's
/// list. Clients read the oldest first, and a full list loses the oldest: what is
/// left are the newest.
fn are_unread(
    sent: &VecDeque<Sent>,
    lengths: &[RedisResult<usize>],
    reply_ttl: Duration,
) -> Vec<bool> {
    let mut newer = HashMap::<&str, usize>::new();
    let mut unread = vec![false; sent.len()];
    for (index, reply) in sent.iter().enumerate().rev() {
        let newer = newer.entry(&reply.id).or_default();
        unread[index] = match lengths.get(index) {
            // The time alone does not tell: each further reply to a list keeps
            // the earlier ones for as long again.
            Some(Ok(length)) => *newer < *length,
            // No list: the reply became a dead letter.
            Some(Err(error)) if error.code() == Some("WRONGTYPE") => false,
            _ => reply.at.elapsed() < reply_ttl,
        };
        *newer += 1;
    }
    unread
}

impl Drop for UnreadShare {
    fn drop(&mut self) {
        self.replies.counts().sent.push_back(Sent {
            id: std::mem::take(&mut self.id),
            bytes: self.bytes,
            at: Instant::now(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A script that uses one id again and again, and has missed one reply, had
    /// all that it read counted as unread.
    #[test]
    fn of_a_list_that_is_used_again_only_the_newest_are_unread() {
        let sent = ["a", "b", "a", "a", "c"].map(|id| Sent {
            id: id.to_owned(),
            bytes: 1,
            at: Instant::now(),
        });
        let lengths = [1, 0, 1, 1, 16].map(Ok);
        let unread = are_unread(&VecDeque::from(sent), &lengths, Duration::ZERO);
        assert_eq!(unread, [false, false, false, true, true]);
    }

    /// Replies that became dead letters kept lists from others for `reply_ttl`.
    #[test]
    fn what_is_no_list_holds_no_reply() {
        let sent = VecDeque::from([Sent {
            id: "a".into(),
            bytes: 1,
            at: Instant::now(),
        }]);
        let error = redis::RedisError::from((redis::ErrorKind::Parse, "no length"));
        let unread = |error| are_unread(&sent, &[Err(error)], Duration::from_secs(60));
        assert_eq!(unread(error), [true]);
        let wrong_type = redis::make_extension_error("WRONGTYPE".into(), None);
        assert_eq!(unread(wrong_type), [false]);
    }

    #[test]
    fn where_redis_is_not_asked_the_time_tells() {
        let sent = || {
            VecDeque::from([Sent {
                id: "a".into(),
                bytes: 1,
                at: Instant::now(),
            }])
        };
        assert_eq!(are_unread(&sent(), &[], Duration::from_secs(60)), [true]);
        assert_eq!(are_unread(&sent(), &[], Duration::ZERO), [false]);
    }
}
