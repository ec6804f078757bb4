//! One take: what is asked of Redis, and what it says.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};

use super::Settings;
use super::budget::Capacity;
use super::executor::{Batch, Messages};
use super::keys::{DEAD_LETTER_CAP, OWNER_TTL};
use crate::model::DeliveryId;

/// Most messages in one batch: more gain nothing (measured), and would make
/// the lists long that a slow request keeps.
const MAX_BATCH: usize = 128;
/// Length of the queue up to which Redis can tell its size at once.
const MEASURED_QUEUE: usize = 4096;
/// Most bytes in one batch, unless a single message is longer.
pub(super) const MAX_BATCH_BYTES: usize = 4 << 20;
/// How long the blocking command waits on an empty queue.
pub(super) const BLOCK: Duration = Duration::from_secs(1);

/// What is wanted of a take.
pub(super) struct Take {
    /// Number of the batch that is to be made.
    pub(super) batch: u64,
    /// How much of it.
    pub(super) room: Capacity,
    /// Whether to wait on an empty queue.
    pub(super) block: bool,
}

/// What Redis says to a take.
pub(super) struct Answers {
    /// The blocking command, where there was one.
    pub(super) waited: RedisResult<Value>,
    pub(super) taken: Answer,
    /// The messages in the order of the queue.
    pub(super) messages: RedisResult<Vec<Vec<u8>>>,
}

/// The answer of the taking script.
pub(super) enum Answer {
    /// The queue is ours.
    Taken(Taken),
    /// It belongs to another store.
    Foreign(String),
}

pub(super) struct Taken {
    /// How many over-long ones became dead letters.
    pub(super) set_aside: u64,
    /// Whether the queue was empty then.
    pub(super) drained: bool,
}

impl Take {
    /// The commands of one round trip: the wait, if any, the taking script, known
    /// by its hash, and the list that it made.
    pub(super) fn pipeline(
        &self,
        settings: &Settings,
        script: &str,
        over_long_prefix: &str,
    ) -> Pipeline {
        let keys = &settings.keys;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        if self.block {
            pipe.cmd("BLMOVE")
                .arg(&keys.queue)
                .arg(&keys.queue)
                .arg("LEFT")
                .arg("LEFT")
                .arg(BLOCK.as_secs());
        }
        let list = keys.batch(keys.boot(), self.batch);
        pipe.cmd("EVALSHA")
            .arg(script)
            .arg(6)
            .arg(&keys.queue)
            .arg(&list)
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(&keys.owner)
            .arg(&keys.fence)
            .arg(self.room.messages.min(MAX_BATCH))
            .arg(self.room.bytes.min(MAX_BATCH_BYTES))
            .arg(settings.max_message_size)
            .arg(over_long_prefix)
            .arg(DEAD_LETTER_CAP)
            .arg(&keys.store_id)
            .arg(OWNER_TTL.as_secs())
            .arg(keys.run())
            .arg(MEASURED_QUEUE)
            .cmd("LRANGE")
            .arg(list)
            .arg(0)
            .arg(-1);
        pipe
    }
}

/// The messages of a batch that was just made, under its number.
pub(super) fn messages_of(
    batch: Arc<Batch>,
    (boot, number): ([u8; 16], u64),
    messages: Vec<Vec<u8>>,
) -> Messages {
    let open = messages.into_iter().zip(0..).map(|(message, position)| {
        let id = DeliveryId {
            boot,
            batch: number,
            position,
        };
        (id, message)
    });
    Messages {
        open: open.collect(),
        batch,
    }
}

/// Asks.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    pipe: &redis::Pipeline,
) -> RedisResult<Answers> {
    let answers: Vec<RedisResult<Value>> = pipe.query_async(connection).await?;
    let mut answers = answers.into_iter().rev();
    let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
    let messages = next().and_then(|list| Ok(redis::from_redis_value(list)?));
    Ok(Answers {
        messages,
        taken: parse(next()?)?,
        waited: next(),
    })
}

fn parse(answer: Value) -> RedisResult<Answer> {
    if let Value::BulkString(_) = answer {
        return Ok(Answer::Foreign(redis::from_redis_value(answer)?));
    }
    let (set_aside, drained): (u64, u8) = redis::from_redis_value(answer)?;
    Ok(Answer::Taken(Taken {
        set_aside,
        drained: drained == 1,
    }))
}
