//! Acknowledges completed deliveries: the script, and the group that it acknowledges as a whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redis::{Pipeline, RedisError};

use super::delivery::{Delivery, ProcessingList};
use super::keys::{DEAD_LETTER_CAP, REPLY_LIST_CAP};
use super::scripts::ACK_SCRIPT;
use super::{Finished, Reply, Settings};

/// Replaces an acknowledged entry in its processing list. No request has this text. ([`ACK`] and
/// other scripts contain it as well.)
pub(super) const ACKNOWLEDGED: &[u8] = b"\0settled";

/// Maximum number of bytes of replies in one round trip, unless a single reply is longer.
const MAX_ROUND_BYTES: usize = 1 << 20;
/// Number of tries after which a long reply that breaks the connection each time is undeliverable:
/// Redis accepts none longer than its `proto-max-bulk-len`.
const MAX_TRIES: u32 = 3;

/// Acknowledges completed entries of one processing list.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the processing list |
/// | 2 | set of processing lists |
/// | 3 | dead letters |
/// | 4 | the fence |
/// | 5… | reply lists |
/// | then | the lists that hold staged replies |
///
/// | ARGV | |
/// |---|---|
/// | 1 | seconds after which a reply list expires |
/// | 2 | maximum number of dead letters |
/// | 3 | 2 if these are all entries that the list ever had, 1 if they are the last open ones, else 0 |
/// | 4 | fencing token |
/// | 5 | beginning of the dead letter of an undeliverable reply, up to its id |
/// | 6 | length of the prefix of reply lists' names |
/// | 7 | positions of the entries, separated by commas: first those with a reply |
/// | 8 | number of replies |
/// | 9 | maximum number of replies in a reply list: one more removes the oldest |
/// | 10… | the replies; '' for a staged one |
/// | then | for each dead letter: the number of its entry, counted from 1, and the letter |
///
/// The length of a reply list is bounded because a client can ask for any number of replies under
/// one id, and read none.
///
/// The script skips an entry that is not open (acknowledged before, or lost by Redis), so that
/// repeating it never repeats a reply. Where all entries come at once, it only checks that the list
/// exists. For each reply that Redis refused it returns the number of its entry, counted from 1, the
/// error, and 1 if the entry stays open, because Redis may accept the reply later, or 0 if the reply
/// became a dead letter, because its list is of another type.
pub(super) const ACK: &str = r"
if (redis.call('GET', KEYS[4]) or ARGV[4]) ~= ARGV[4] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[2], '')
local list, whole, replies, reply_cap = KEYS[1], ARGV[3] == '2', tonumber(ARGV[8]), tonumber(ARGV[9])
if redis.call('EXISTS', list) == 0 then
  redis.call('SREM', KEYS[2], list)
  return {}
end
local function bury(letter)
  redis.pcall('RPUSH', KEYS[3], letter)
  redis.pcall('LTRIM', KEYS[3], -tonumber(ARGV[2]), -1)
end
local refused, left = {}, {}
local function push(i, key, staged)
  if not staged then return redis.pcall('RPUSH', key, ARGV[9 + i]) end
  if redis.call('EXISTS', key) == 0 then return redis.pcall('RENAME', staged, key) end
  local moved = redis.pcall('LMOVE', staged, key, 'LEFT', 'RIGHT')
  if type(moved) == 'string' then return redis.call('LLEN', key) end
  return moved or {err = 'a long reply is no longer where it was'}
end
local function reply(i, staged)
  local key = KEYS[4 + i]
  local pushed = push(i, key, staged)
  if type(pushed) ~= 'table' or not pushed.err then
    if type(pushed) == 'number' and pushed > reply_cap then redis.call('LTRIM', key, -reply_cap, -1) end
    redis.call('EXPIRE', key, ARGV[1])
    return
  end
  local keep = not string.find(pushed.err, 'WRONGTYPE', 1, true)
  refused[#refused + 1] = i
  refused[#refused + 1] = pushed.err
  refused[#refused + 1] = keep and 1 or 0
  if keep then left[i] = true else bury(ARGV[5] .. cjson.encode(string.sub(key, ARGV[6] + 1)) .. '}') end
end
-- Where all entries come at once, the script reads positions only after a refusal.
local open, i = {}, 0
if not whole then
  for position in string.gmatch(ARGV[7], '%d+') do
    i = i + 1
    local entry = redis.call('LINDEX', list, position)
    open[i] = entry and entry ~= '\0settled'
  end
end
local next_staged = 5 + replies
for i = 1, replies do
  local staged
  if ARGV[9 + i] == '' then
    staged = KEYS[next_staged]
    next_staged = next_staged + 1
  end
  if whole or open[i] then reply(i, staged) end
end
for i = 10 + replies, #ARGV, 2 do
  local n = tonumber(ARGV[i])
  if (whole or open[n]) and not left[n] then bury(ARGV[i + 1]) end
end
if ARGV[3] ~= '0' and not next(left) then
  redis.call('DEL', list)
  redis.call('SREM', KEYS[2], list)
  return refused
end
i = 0
for position in string.gmatch(ARGV[7], '%d+') do
  i = i + 1
  if (whole or open[i]) and not left[i] then redis.call('LSET', list, position, '\0settled') end
end
return refused
";

/// A reply that Redis refused: the number of its entry in the group, counted from 1, the error, and
/// whether the entry stays open.
pub(super) type Refusal = (usize, String, bool);

/// Completed entries of one processing list.
pub(super) struct AckGroup {
    pub(super) list: Arc<ProcessingList>,
    pub(super) entries: Vec<(Delivery, Finished)>,
    /// Number of times that they were sent, with an error or without an answer. A connection that
    /// could not be made does not count.
    pub(super) tries: u32,
}

impl AckGroup {
    /// Returns 2 for all entries of a list at once, 1 for its last open ones, else 0. A repetition
    /// looks at every entry: some may be acknowledged already.
    fn completeness(&self) -> u8 {
        let count = self.entries.len();
        if count == self.list.entries && self.tries == 0 {
            2
        } else {
            u8::from(count == self.list.open.load(Ordering::Relaxed))
        }
    }

    /// Adds the call of [`ACK`], by its hash, for this group.
    pub(super) fn add_to(&self, pipe: &mut Pipeline, settings: &Settings, undeliverable: &str) {
        let keys = &settings.keys;
        let replies = self
            .entries
            .iter()
            .filter_map(|(_, finished)| finished.reply.as_ref());
        let count = replies.clone().count();
        // A staged reply may have expired by the time of a repetition.
        let staged = |reply: &Reply| reply.staged.clone().filter(|_| self.tries == 0);
        let staged_keys: Vec<_> = replies.clone().filter_map(staged).collect();
        let command = pipe
            .cmd("EVALSHA")
            .arg(ACK_SCRIPT.get_hash())
            .arg(4 + count + staged_keys.len())
            .arg(&self.list.name)
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
            .arg(self.completeness())
            .arg(keys.fencing_token())
            .arg(undeliverable)
            .arg(keys.reply_prefix.len())
            .arg(self.positions())
            .arg(count)
            .arg(REPLY_LIST_CAP);
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

    /// Returns the number of bytes of its replies and dead letters.
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

    /// Splits the group into its entries: one that Redis never accepts must not hold up the others.
    pub(super) fn singly(self) -> impl Iterator<Item = Self> {
        let (list, tries) = (self.list, self.tries);
        self.entries.into_iter().map(move |entry| Self {
            list: Arc::clone(&list),
            entries: vec![entry],
            tries,
        })
    }

    /// Returns whether Redis will never accept the reply of a single entry: it says so, or breaks
    /// the connection over a long reply each time. (`refused.rs` handles a list that is refused.)
    pub(super) fn is_undeliverable(&self, error: &RedisError) -> bool {
        let [(_, finished)] = self.entries.as_slice() else {
            return false;
        };
        let Some(reply) = &finished.reply else {
            return false;
        };
        let refused = error.to_string().contains("Protocol error");
        let breaks_connection = error.is_connection_dropped()
            && reply.bytes.len() >= MAX_ROUND_BYTES
            && self.tries >= MAX_TRIES;
        refused || breaks_connection
    }
}

/// Groups completed deliveries by processing list; within a group, those with a reply come first.
pub(super) fn group_by_list(completed: Vec<(Delivery, Finished)>) -> Vec<AckGroup> {
    let mut groups: Vec<AckGroup> = Vec::new();
    for (delivery, finished) in completed {
        // Deliveries that complete together were mostly fetched together.
        let known = groups
            .iter_mut()
            .rev()
            .find(|group| Arc::ptr_eq(&group.list, &delivery.list));
        match known {
            Some(group) => group.entries.push((delivery, finished)),
            None => groups.push(AckGroup {
                list: Arc::clone(&delivery.list),
                entries: vec![(delivery, finished)],
                tries: 0,
            }),
        }
    }
    for group in &mut groups {
        group
            .entries
            .sort_by_key(|(_, finished)| finished.reply.is_none());
    }
    groups
}

/// Splits completed deliveries into round trips of bounded size: a round trip that times out is
/// repeated as a whole.
pub(super) fn in_rounds(completed: Vec<(Delivery, Finished)>) -> Vec<Vec<(Delivery, Finished)>> {
    let mut rounds = Vec::new();
    let mut round = Vec::new();
    let mut bytes = 0;
    for (delivery, finished) in completed {
        let size = finished.reply.as_ref().map_or(0, |reply| reply.bytes.len());
        if bytes + size > MAX_ROUND_BYTES && !round.is_empty() {
            rounds.push(std::mem::take(&mut round));
            bytes = 0;
        }
        bytes += size;
        round.push((delivery, finished));
    }
    rounds.push(round);
    rounds
}

#[cfg(test)]
mod tests {
    use redis::{RedisResult, Value};

    use super::*;

    #[test]
    fn the_answer_of_the_script_is_a_flat_list_of_refusals() {
        let text = |text: &str| Value::BulkString(text.into());
        let answer = vec![
            Value::Int(1),
            text("NOPERM"),
            Value::Int(1),
            Value::Int(3),
            text("WRONGTYPE"),
            Value::Int(0),
        ];
        let decode = |answer| {
            let refused: RedisResult<Vec<Refusal>> = redis::from_redis_value(answer).unwrap();
            refused.unwrap()
        };
        let refused = [(1, "NOPERM".into(), true), (3, "WRONGTYPE".into(), false)];
        assert_eq!(decode(Value::Array(answer)), refused);
        assert!(decode(Value::Array(Vec::new())).is_empty());
    }
}
