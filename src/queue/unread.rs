//! Bounds the long replies in Redis that clients have not read. A request of some bytes can have a
//! reply of megabytes, which Redis keeps for `reply_ttl`: without a bound, clients could fill the
//! memory of Redis. (The acknowledging script also trims each reply list to 16 replies.)
//!
//! A long reply is counted before the queue gets it. It holds its share until it is acknowledged;
//! dropping the share records that the reply was sent. Redis is asked which lists still exist only
//! when the bound of 64 MiB is reached. Time alone does not tell, because each further reply to a
//! list renews its `EXPIRE`.
//!
//! Dispatch replaces a long reply without capacity by an error. A long reply to a request that had
//! an effect is sent in any case, and takes capacity from the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisResult;
use tokio::sync::Mutex as AsyncMutex;
use tracing::{debug, warn};

use crate::redis::{ANSWER_TIMEOUT, Connector};

/// Maximum number of bytes of unread long replies. A single reply may be longer.
const MAX_UNREAD_BYTES: usize = 64 << 20;
/// Bytes from which a reply counts as long.
const COUNTED: usize = 4 << 10;
/// Minimum interval between questions to Redis which replies clients have read.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Interval between repeated warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Time-out for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts the bytes of this process' long replies until clients read them or they expire.
pub struct UnreadReplies {
    connector: Connector,
    reply_prefix: String,
    reply_ttl: Duration,
    counts: Mutex<Counts>,
    /// Held while Redis is asked. Other replies wait for the answer.
    asking: AsyncMutex<()>,
}

#[derive(Default)]
struct Counts {
    /// Bytes of all long replies, also of those that are not sent yet.
    bytes: usize,
    /// Replies that were sent, oldest first.
    sent: VecDeque<Sent>,
    asked: Option<Instant>,
    warned: Option<Instant>,
}

struct Sent {
    id: String,
    bytes: usize,
    at: Instant,
}

/// The share of one reply. Dropping it records that the reply was sent.
pub struct UnreadShare {
    replies: Arc<UnreadReplies>,
    id: String,
    bytes: usize,
}

impl UnreadReplies {
    /// Starts at zero: the replies of an earlier process are not known.
    #[must_use]
    pub fn new(connector: Connector, reply_prefix: &str, reply_ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            connector,
            reply_prefix: reply_prefix.to_owned(),
            reply_ttl,
            counts: Mutex::default(),
            asking: AsyncMutex::default(),
        })
    }

    /// Counts a reply of this many bytes to the list of an id. Returns `None` for a short one. A
    /// reply that is `always_sent` may exceed the bound: then later ones are refused.
    ///
    /// # Errors
    /// When too many bytes are unread: the time until enough of them expire.
    pub async fn count(
        self: &Arc<Self>,
        id: &str,
        bytes: usize,
        always_sent: bool,
    ) -> Result<Option<UnreadShare>, Duration> {
        if bytes < COUNTED {
            return Ok(None);
        }
        // On the heap, because this is rare and would enlarge the future of every request.
        if !self.take(bytes) && !Box::pin(self.ask_and_take(bytes)).await {
            if !always_sent {
                return Err(self.refuse(bytes));
            }
            self.counts().bytes += bytes;
        }
        Ok(Some(UnreadShare {
            replies: Arc::clone(self),
            id: id.to_owned(),
            bytes,
        }))
    }

    /// Takes capacity after asking Redis. Returns whether there was enough.
    async fn ask_and_take(&self, bytes: usize) -> bool {
        let _asking = self.asking.lock().await;
        // An earlier answer may have freed some meanwhile.
        if self.take(bytes) {
            return true;
        }
        self.forget_read().await;
        self.take(bytes)
    }

    /// Takes capacity. Returns whether there was enough.
    fn take(&self, bytes: usize) -> bool {
        let mut counts = self.counts();
        let fits = counts.bytes == 0 || counts.bytes + bytes <= MAX_UNREAD_BYTES;
        if fits {
            counts.bytes += bytes;
        }
        fits
    }

    /// Forgets the replies that are no longer in their lists.
    async fn forget_read(&self) {
        let sent = {
            let mut counts = self.counts();
            if counts.asked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
                return;
            }
            counts.asked = Some(Instant::now());
            std::mem::take(&mut counts.sent)
        };
        if sent.is_empty() {
            return;
        }
        let lengths = self.lengths(&sent).await.unwrap_or_else(|error| {
            debug!(%error, "cannot ask Redis which long replies were read");
            Vec::new()
        });
        let is_unread = are_unread(&sent, &lengths, self.reply_ttl);
        let mut unread = VecDeque::with_capacity(sent.len());
        let mut read = 0;
        for (reply, is_unread) in sent.into_iter().zip(is_unread) {
            if is_unread {
                unread.push_back(reply);
            } else {
                read += reply.bytes;
            }
        }
        let mut counts = self.counts();
        let newer = std::mem::replace(&mut counts.sent, unread);
        counts.sent.extend(newer);
        counts.bytes -= read;
    }

    /// Returns the lengths of the lists that replies were sent to.
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

    /// Returns the time until there is capacity if clients read nothing.
    fn refuse(&self, bytes: usize) -> Duration {
        let mut counts = self.counts();
        if counts.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            counts.warned = Some(Instant::now());
            warn!(
                unread_bytes = counts.bytes,
                "too many bytes of long replies are unread in Redis: requests for more of them get an error"
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

/// Returns which of the replies are still in their lists, given the length of each one's list.
/// Clients read the oldest first, and a full list loses the oldest, so the newest are left.
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
            // The age does not matter: each further reply to a list renews the expiry of the
            // earlier ones.
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

    /// Where a script used one id repeatedly and missed one reply, all replies that it had read
    /// counted as unread.
    #[test]
    fn only_the_newest_replies_of_a_reused_list_are_unread() {
        let sent = ["a", "b", "a", "a", "c"].map(|id| Sent {
            id: id.to_owned(),
            bytes: 1,
            at: Instant::now(),
        });
        let lengths = [1, 0, 1, 1, 16].map(Ok);
        let unread = are_unread(&VecDeque::from(sent), &lengths, Duration::ZERO);
        assert_eq!(unread, [false, false, false, true, true]);
    }

    /// Replies that became dead letters counted as unread for `reply_ttl`.
    #[test]
    fn a_key_of_another_type_holds_no_reply() {
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
    fn without_an_answer_of_redis_the_age_decides() {
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
