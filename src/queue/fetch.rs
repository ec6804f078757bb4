//! Fetches a batch: the script that moves its messages, and the command pipeline around it.
//!
//! # Fetching ahead
//!
//! The next batch is fetched while the present one runs. A batch of look-ups runs within the time of
//! one round trip to Redis, so that a daemon that fetches and runs in turn waits half of the time. A
//! batch of few messages gains nothing from it: its replies would wait for the answer to the fetch
//! (docs/explanation/performance.md).
//!
//! Messages that were received run in any case, whatever becomes of the connection that they came
//! on. The process that received them never runs them again.
//!
//! # Moving messages unseen
//!
//! Lua hashes every byte of a text that it touches. So the script moves messages without reading
//! them (`RENAME`, or `SORT … BY nosort STORE` and `LTRIM`) as long as they are few and short
//! together, and a `LRANGE` behind the script returns them. This took look-ups from 163,000 to
//! 208,000 a second where it was measured (docs/explanation/performance.md).

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::task::yield_now;

use super::budget::Capacity;
use super::delivery::Batch;
use super::fetcher::{Fetcher, NextFetch, State};
use super::keys::{BatchId, DEAD_LETTER_CAP, OWNER_TTL};
use super::scripts::FETCH_SCRIPT;

/// Maximum number of messages in a batch. More were not faster when measured, and would lengthen
/// the lists that a slow request keeps.
const MAX_BATCH: usize = 128;
/// Minimum number of messages in a batch for the next fetch to go ahead of its run, where the queue
/// was emptied.
const AHEAD_FROM: usize = 8;
/// Length of the queue up to which Redis can return its size at once.
const MEASURED_QUEUE: usize = 4096;
/// Maximum number of bytes in a batch, unless a single message is longer.
pub(super) const MAX_BATCH_BYTES: usize = 4 << 20;
/// How long the blocking command waits on an empty queue.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// Acquires or renews the ownership of the queue for a store, and moves messages into a new
/// processing list. The command behind the script reads that list.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the queue |
/// | 2 | the new processing list |
/// | 3 | set of processing lists |
/// | 4 | dead letters |
/// | 5 | owner of the queue |
/// | 6 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | maximum number of messages; 0 only renews the ownership |
/// | 2 | maximum number of bytes (a single longer message is moved all the same) |
/// | 3 | maximum length of a message; where the script reads messages, a longer one becomes a dead letter |
/// | 4 | beginning of such a dead letter, up to the length |
/// | 5 | maximum number of dead letters |
/// | 6 | the store's id |
/// | 7 | seconds for which the ownership holds |
/// | 8 | fencing token |
/// | 9 | length of the queue up to which its size is measured |
///
/// Returns `{too long, emptied}`: the number of messages that were too long, and whether the queue
/// was empty afterwards (1) or not (0). Where another store owns the queue it returns that store's
/// id and moves nothing.
pub(super) const FETCH: &str = r"
if (redis.call('GET', KEYS[6]) or ARGV[8]) ~= ARGV[8] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[3], '')
local owner = redis.call('GET', KEYS[5])
if owner and owner ~= ARGV[6] then return owner end
if not owner then redis.call('SET', KEYS[5], ARGV[6], 'EX', ARGV[7]) else redis.call('EXPIRE', KEYS[5], ARGV[7]) end
local most, most_bytes, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if most == 0 then return {0, 0} end
local queue, list = KEYS[1], KEYS[2]
local waiting = redis.call('LLEN', queue)
if waiting == 0 then return {0, 1} end
if waiting <= tonumber(ARGV[9]) and redis.call('MEMORY', 'USAGE', queue, 'SAMPLES', 0) <= most_bytes then
  redis.call('SADD', KEYS[3], list)
  if waiting <= most then
    redis.call('RENAME', queue, list)
    redis.call('PERSIST', list)
    return {0, 1}
  end
  redis.call('SORT', queue, 'BY', 'nosort', 'LIMIT', 0, most, 'STORE', list)
  redis.call('LTRIM', queue, most, -1)
  return {0, 0}
end
local moved, bytes, too_long, emptied = 0, 0, 0, 0
while moved < most do
  local message = redis.call('LPOP', queue)
  if not message then
    emptied = 1
    break
  end
  bytes = bytes + #message
  if #message > longest then
    redis.pcall('RPUSH', KEYS[4], ARGV[4] .. #message .. '}')
    redis.pcall('LTRIM', KEYS[4], -tonumber(ARGV[5]), -1)
    too_long = too_long + 1
    if bytes > most_bytes then break end
  elseif bytes > most_bytes and moved > 0 then
    redis.call('LPUSH', queue, message)
    break
  else
    if moved == 0 then redis.call('SADD', KEYS[3], list) end
    redis.call('RPUSH', list, message)
    moved = moved + 1
  end
end
return {too_long, emptied}
";

/// The answers to the commands of a fetch.
pub(super) struct Answers {
    /// Of the blocking command, if there was one.
    pub(super) blocking: RedisResult<Value>,
    pub(super) script: ScriptAnswer,
    /// The messages in the order of the queue.
    pub(super) messages: RedisResult<Vec<Vec<u8>>>,
}

/// The answer of the script.
pub(super) enum ScriptAnswer {
    /// This store owns the queue.
    Owned {
        /// Number of messages that became dead letters because they were too long.
        too_long: u64,
        /// Whether the queue was empty afterwards.
        emptied: bool,
    },
    /// The store of this id owns the queue.
    Foreign(String),
}

impl Fetcher {
    /// Runs a batch, and returns the next one if it was fetched meanwhile.
    pub(super) async fn run_and_fetch_ahead(
        &mut self,
        connection: &mut MultiplexedConnection,
        batch: Batch,
    ) -> RedisResult<Option<Batch>> {
        let executor = self.executor.clone();
        let is_large = !self.blocks() || batch.len() >= AHEAD_FROM;
        let (permit, renewed) = self.renew_during(connection, executor.batch_permit()).await;
        let capacity = executor.budget.left();
        let goes_ahead = is_large
            && renewed.is_ok()
            && !capacity.is_none()
            && self.next_fetch != NextFetch::NewConnection
            && !self.is_stopped();
        if !goes_ahead {
            executor.run(batch, permit).await;
            return renewed.map(|()| None);
        }
        let (fetched, ()) = tokio::join!(self.fetch(connection, capacity), async {
            // The fetch is sent before the batch runs.
            yield_now().await;
            executor.run(batch, permit).await;
        });
        fetched
    }

    /// Fetches one batch; `None` when another store owns the queue. Where the queue was empty, the
    /// blocking command precedes the script in the same round trip.
    pub(super) async fn fetch(
        &mut self,
        connection: &mut MultiplexedConnection,
        capacity: Capacity,
    ) -> RedisResult<Option<Batch>> {
        let id = self.settings.keys.batch(self.next_batch);
        self.next_batch += 1;
        self.state = State::AwaitFetch(id);
        let answers = self.send(connection, id, capacity, self.blocks()).await?;
        let messages = answers.messages?;
        self.state = State::Fetch;
        self.next_fetch = NextFetch::AtOnce;
        let Some(emptied) = self.check_owner(answers.script) else {
            return Ok(None);
        };
        // Redis may have compressed the list and reported too small a size.
        let mut is_too_long = messages.iter().map(Vec::len).sum::<usize>() > 2 * MAX_BATCH_BYTES;
        match answers.blocking {
            // Where nothing was fetched, a blocking command that is refused must not become a busy
            // loop.
            Err(error) if messages.is_empty() => return Err(error),
            Ok(Value::BulkString(first)) => {
                is_too_long |= first.len() > self.settings.max_message_size;
            }
            _ => {}
        }
        if is_too_long {
            self.next_fetch = NextFetch::NewConnection;
        } else if emptied {
            self.next_fetch = NextFetch::Blocking;
        }
        let count = messages.len();
        let name = self.settings.keys.processing_list(id);
        let list = self.executor.list(name, count, count);
        let messages = messages.into_iter().zip(0..);
        let messages = messages.map(|(message, position)| (id.delivery(position), message));
        Ok(Some(self.executor.batch(&list, messages, false)))
    }

    /// Sends the commands of a fetch in one round trip: the blocking command, if it `blocks`, the
    /// script, called by its hash, and the command that reads the new list of `batch`.
    pub(super) async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        batch: BatchId,
        capacity: Capacity,
        blocks: bool,
    ) -> RedisResult<Answers> {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        if blocks {
            // From the queue to the queue: it only waits.
            pipe.cmd("BLMOVE")
                .arg(&keys.queue)
                .arg(&keys.queue)
                .arg("LEFT")
                .arg("LEFT")
                .arg(BLOCK.as_secs());
        }
        let list = keys.processing_list(batch);
        pipe.cmd("EVALSHA")
            .arg(FETCH_SCRIPT.get_hash())
            .arg(6)
            .arg(&keys.queue)
            .arg(&list)
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(&keys.owner)
            .arg(&keys.fence)
            .arg(capacity.messages.min(MAX_BATCH))
            .arg(capacity.bytes.min(MAX_BATCH_BYTES))
            .arg(self.settings.max_message_size)
            .arg(self.executor.handler.too_long_prefix())
            .arg(DEAD_LETTER_CAP)
            .arg(&keys.store_id)
            .arg(OWNER_TTL.as_secs())
            .arg(keys.fencing_token())
            .arg(MEASURED_QUEUE)
            .cmd("LRANGE")
            .arg(list)
            .arg(0)
            .arg(-1);
        let answers: Vec<RedisResult<Value>> = pipe.query_async(connection).await?;
        let mut answers = answers.into_iter().rev();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let messages = next().and_then(|list| Ok(redis::from_redis_value(list)?));
        Ok(Answers {
            messages,
            script: parse(next()?)?,
            blocking: next(),
        })
    }
}

fn parse(answer: Value) -> RedisResult<ScriptAnswer> {
    if let Value::BulkString(_) = answer {
        return Ok(ScriptAnswer::Foreign(redis::from_redis_value(answer)?));
    }
    let (too_long, emptied) = redis::from_redis_value(answer)?;
    Ok(ScriptAnswer::Owned { too_long, emptied })
}
