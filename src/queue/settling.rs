//! What is settled in one go: the finished entries of one processing list.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Pipeline, RedisError, RedisResult, Value};

use super::crew::{Batch, Delivery};
use super::keys::DEAD_LETTER_CAP;
use super::{Finished, Settings, scripts};

/// Most bytes of replies in one round trip, unless a single one is longer.
const MAX_ROUND_BYTES: usize = 1 << 20;
/// Tries after which a long reply that breaks the connection each time is
/// given up: Redis takes none longer than its `proto-max-bulk-len`.
const MAX_TRIES: u32 = 3;

/// Finished entries of one processing list.
pub(super) struct Group {
    pub(super) batch: Arc<Batch>,
    pub(super) entries: Vec<(Delivery, Finished)>,
    /// How often they were sent before, with an error or without an answer. A
    /// connection that could not be made does not count.
    pub(super) tries: u32,
}

impl Group {
    /// 2 for all entries of a list at once, 1 for its last open ones, else 0.
    /// A repetition looks at every entry: some may be settled already.
    fn share(&self) -> u8 {
        let count = self.entries.len();
        if count == self.batch.entries && self.tries == 0 {
            2
        } else {
            u8::from(count == self.batch.open.load(Ordering::Relaxed))
        }
    }

    /// Adds the settling script for this group.
    pub(super) fn add_to(&self, pipe: &mut Pipeline, settings: &Settings, undeliverable: &str) {
        let keys = &settings.keys;
        let replies = self
            .entries
            .iter()
            .filter_map(|(_, finished)| finished.reply.as_ref());
        let command = pipe
            .cmd("EVAL")
            .arg(scripts::SETTLE)
            .arg(4 + replies.clone().count())
            .arg(&self.batch.list)
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(&keys.fence);
        for reply in replies {
            command.arg(keys.reply(&reply.id));
        }
        command
            .arg(settings.reply_ttl.as_secs())
            .arg(DEAD_LETTER_CAP)
            .arg(self.share())
            .arg(keys.run())
            .arg(undeliverable)
            .arg(keys.reply_prefix.len());
        let mut next_key = 5;
        for (delivery, finished) in &self.entries {
            command.arg(delivery.id.position);
            match &finished.reply {
                Some(reply) => {
                    command.arg(next_key).arg(&reply.bytes);
                    next_key += 1;
                }
                None => {
                    command.arg(0).arg("");
                }
            }
            command.arg(finished.dead_letter.as_ref().map_or(&[][..], |d| &d.bytes));
        }
    }

    /// Each entry on its own: one that Redis will never take must not keep the
    /// others.
    pub(super) fn singly(self) -> impl Iterator<Item = Self> {
        let (batch, tries) = (self.batch, self.tries);
        self.entries.into_iter().map(move |entry| Self {
            batch: Arc::clone(&batch),
            entries: vec![entry],
            tries,
        })
    }

    /// Whether trying again is in vain: Redis says so, or breaks the
    /// connection over a long reply each time.
    pub(super) fn is_hopeless(&self, error: &RedisError) -> bool {
        let [(_, finished)] = self.entries.as_slice() else {
            return false;
        };
        let Some(reply) = &finished.reply else {
            return false;
        };
        let text = error.to_string();
        let not_ours = error.code() == Some("NOPERM") && text.contains("key");
        let refused = not_ours || text.contains("Protocol error");
        let breaks_the_line = error.is_connection_dropped()
            && reply.bytes.len() >= MAX_ROUND_BYTES
            && self.tries >= MAX_TRIES;
        refused || breaks_the_line
    }
}

/// Groups what is finished by processing list.
pub(super) fn group_by_list(finished: Vec<(Delivery, Finished)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<*const Batch, usize> = HashMap::new();
    for (delivery, done) in finished {
        let at = *index
            .entry(Arc::as_ptr(&delivery.batch))
            .or_insert_with(|| {
                groups.push(Group {
                    batch: Arc::clone(&delivery.batch),
                    entries: Vec::new(),
                    tries: 0,
                });
                groups.len() - 1
            });
        groups[at].entries.push((delivery, done));
    }
    groups
}

/// Splits what is finished into round trips: one that does not get through in
/// time is sent again whole.
pub(super) fn in_rounds(finished: Vec<(Delivery, Finished)>) -> Vec<Vec<(Delivery, Finished)>> {
    let mut rounds = Vec::new();
    let mut round = Vec::new();
    let mut bytes = 0;
    for (delivery, done) in finished {
        let size = done.reply.as_ref().map_or(0, |reply| reply.bytes.len());
        if bytes + size > MAX_ROUND_BYTES && !round.is_empty() {
            rounds.push(std::mem::take(&mut round));
            bytes = 0;
        }
        bytes += size;
        round.push((delivery, done));
    }
    rounds.push(round);
    rounds
}

/// A reply that Redis refused.
pub(super) struct Refusal {
    pub(super) error: String,
    /// Whether its entry was left as it was.
    pub(super) left: bool,
}

/// The refused replies by position.
pub(super) fn parse_refused(answer: Vec<Value>) -> RedisResult<HashMap<u32, Refusal>> {
    let mut answer = answer.into_iter();
    let mut refused = HashMap::new();
    while let (Some(position), Some(error), Some(left)) =
        (answer.next(), answer.next(), answer.next())
    {
        let refusal = Refusal {
            error: redis::from_redis_value(error)?,
            left: redis::from_redis_value(left)?,
        };
        refused.insert(redis::from_redis_value(position)?, refusal);
    }
    Ok(refused)
}
