//! What is settled in one go: the finished entries of one processing list.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Pipeline, RedisError, RedisResult, Value};

use super::executor::{Batch, Delivery};
use super::keys::DEAD_LETTER_CAP;
use super::{Finished, Reply, Settings};

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

    /// Adds the settling script, known by its hash, for this group.
    pub(super) fn add_to(
        &self,
        pipe: &mut Pipeline,
        script: &str,
        settings: &Settings,
        undeliverable: &str,
    ) {
        let keys = &settings.keys;
        let replies = self
            .entries
            .iter()
            .filter_map(|(_, finished)| finished.reply.as_ref());
        let count = replies.clone().count();
        // What was staged may be gone by the time of a repetition.
        let staged = |reply: &Reply| reply.staged.clone().filter(|_| self.tries == 0);
        let staged_keys: Vec<_> = replies.clone().filter_map(staged).collect();
        let command = pipe
            .cmd("EVALSHA")
            .arg(script)
            .arg(4 + count + staged_keys.len())
            .arg(&self.batch.list)
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(&keys.fence);
        for reply in replies.clone() {
            command.arg(keys.reply(&reply.id));
        }
        command.arg(staged_keys);
        command
            .arg(settings.reply_ttl.as_secs())
            .arg(DEAD_LETTER_CAP)
            .arg(self.share())
            .arg(keys.run())
            .arg(undeliverable)
            .arg(keys.reply_prefix.len())
            .arg(self.positions())
            .arg(count);
        for reply in replies {
            match staged(reply) {
                Some(_) => command.arg(""),
                None => command.arg(reply.bytes.as_slice()),
            };
        }
        for ((_, finished), number) in self.entries.iter().zip(1..) {
            if let Some(letter) = &finished.dead_letter {
                command.arg::<u32>(number).arg(&letter.bytes);
            }
        }
    }

    /// Bytes of its replies and dead letters.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |(_, finished): &(Delivery, Finished)| {
            let reply = finished.reply.as_ref().map_or(0, |reply| reply.bytes.len());
            let letter = finished.dead_letter.as_ref().map_or(0, |d| d.bytes.len());
            reply + letter
        };
        self.entries.iter().map(bytes).sum()
    }

    fn positions(&self) -> String {
        let positions: Vec<_> = self
            .entries
            .iter()
            .map(|(delivery, _)| delivery.id.position.to_string())
            .collect();
        positions.join(",")
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
    /// connection over a long reply each time. (A list that is refused is
    /// judged elsewhere.)
    pub(super) fn is_hopeless(&self, error: &RedisError) -> bool {
        let [(_, finished)] = self.entries.as_slice() else {
            return false;
        };
        let Some(reply) = &finished.reply else {
            return false;
        };
        let refused = error.to_string().contains("Protocol error");
        let breaks_the_line = error.is_connection_dropped()
            && reply.bytes.len() >= MAX_ROUND_BYTES
            && self.tries >= MAX_TRIES;
        refused || breaks_the_line
    }
}

/// Groups what is finished by processing list; within a group, those with a
/// reply first.
pub(super) fn group_by_list(finished: Vec<(Delivery, Finished)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (delivery, done) in finished {
        // What is finished together was mostly taken together.
        let known = groups
            .iter_mut()
            .rev()
            .find(|group| Arc::ptr_eq(&group.batch, &delivery.batch));
        match known {
            Some(group) => group.entries.push((delivery, done)),
            None => groups.push(Group {
                batch: Arc::clone(&delivery.batch),
                entries: vec![(delivery, done)],
                tries: 0,
            }),
        }
    }
    for group in &mut groups {
        group.entries.sort_by_key(|(_, done)| done.reply.is_none());
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

/// The refused replies by their entry's number in the group, counted from 1.
pub(super) fn parse_refused(answer: Vec<Value>) -> RedisResult<HashMap<usize, Refusal>> {
    let mut answer = answer.into_iter();
    let mut refused = HashMap::new();
    while let (Some(number), Some(error), Some(left)) =
        (answer.next(), answer.next(), answer.next())
    {
        let refusal = Refusal {
            error: redis::from_redis_value(error)?,
            left: redis::from_redis_value(left)?,
        };
        refused.insert(redis::from_redis_value(number)?, refusal);
    }
    Ok(refused)
}
