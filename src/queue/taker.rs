//! Takes messages off the queue, in batches, on a connection of its own.
//!
//! The future of a take is never dropped: Redis may have moved messages for
//! it. The blocking command waits for a second at most, and the taker looks
//! at the stop flag in between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::sync::watch;

use super::availability::{Availability, Backoff};
use super::budget::Room;
use super::dead_letter_log::DeadLetterLog;
use super::keys::DEAD_LETTER_CAP;
use super::worker::Crew;
use super::{Settings, recovery, scripts};

/// What this part does, in the log.
const TAKING: &str = "taking requests";
/// How long the blocking command waits on an empty queue.
const BLOCK: Duration = Duration::from_secs(1);
/// Most messages in one batch: more gain nothing (measured), and would make
/// the lists long that a slow request keeps.
const MAX_BATCH: usize = 128;
/// Most bytes in one batch, unless a single message is longer.
const MAX_BATCH_BYTES: usize = 4 << 20;

pub(super) struct Taker {
    settings: Arc<Settings>,
    availability: Arc<Availability>,
    crew: Crew,
    dead_letters: Arc<DeadLetterLog>,
    stopped: watch::Receiver<bool>,
    next_batch: u64,
    /// Lists that an earlier process left and that are not started yet; not
    /// known before the first connection.
    left_behind: Option<VecDeque<String>>,
    /// A batch that was asked for and whose answer never came.
    unanswered: Option<String>,
}

/// The answer of the taking script.
struct Taken {
    /// Messages in the order of the queue.
    messages: Vec<Vec<u8>>,
    /// How many over-long ones became dead letters.
    set_aside: u64,
    /// Whether the queue was empty then.
    drained: bool,
}

impl Taker {
    pub(super) fn new(
        settings: Arc<Settings>,
        availability: Arc<Availability>,
        crew: Crew,
        dead_letters: Arc<DeadLetterLog>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            settings,
            availability,
            crew,
            dead_letters,
            stopped,
            next_batch: 0,
            left_behind: None,
            unanswered: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.is_stopped() {
            let Some(mut connection) = self.connect(&mut backoff).await else {
                return;
            };
            let result = async {
                self.take_over(&mut connection).await?;
                self.resume(&mut connection).await?;
                self.take_until_stopped(&mut connection, &mut backoff).await
            }
            .await;
            if let Err(error) = result {
                self.availability
                    .failed("taking requests", &error.to_string());
                self.wait_or_stop(backoff.wait()).await;
            }
        }
    }

    /// A connection, or `None` when stopped first.
    async fn connect(&mut self, backoff: &mut Backoff) -> Option<MultiplexedConnection> {
        loop {
            match self.settings.connector.connect(BLOCK).await {
                Ok(connection) => return Some(connection),
                Err(error) => self.availability.failed(TAKING, &error.to_string()),
            }
            self.wait_or_stop(backoff.wait()).await;
            if self.is_stopped() {
                return None;
            }
        }
    }

    /// Runs what an earlier process of this store left behind, each list once.
    async fn take_over(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut lists = match self.left_behind.take() {
            Some(lists) => lists,
            None => recovery::lists(connection, &self.settings.keys)
                .await?
                .into(),
        };
        let mut result = Ok(());
        while let Some(list) = lists.front() {
            result = self.run_list(connection, list).await;
            if result.is_err() || self.is_stopped() {
                break;
            }
            lists.pop_front();
        }
        self.left_behind = Some(lists);
        result
    }

    /// Runs the batch whose answer never came, if it was made.
    async fn resume(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if let Some(list) = self.unanswered.take() {
            let result = self.run_list(connection, &list).await;
            if result.is_err() {
                self.unanswered = Some(list);
            }
            return result;
        }
        Ok(())
    }

    async fn run_list(
        &mut self,
        connection: &mut MultiplexedConnection,
        list: &str,
    ) -> RedisResult<()> {
        if self.wait_for_room().await.is_none() {
            return Ok(());
        }
        let entries = recovery::open_entries(connection, &self.settings.keys, list).await?;
        if !entries.is_empty() {
            self.crew.start(list.to_owned(), entries);
        }
        Ok(())
    }

    async fn take_until_stopped(
        &mut self,
        connection: &mut MultiplexedConnection,
        backoff: &mut Backoff,
    ) -> RedisResult<()> {
        let mut block = false;
        while let Some(room) = self.wait_for_room().await {
            let list = self.settings.keys.batch(self.next_batch);
            self.next_batch += 1;
            self.unanswered = Some(list.clone());
            let taken = self.take(connection, &list, room, block).await?;
            self.unanswered = None;
            self.availability.works(TAKING);
            backoff.reset();
            block = taken.drained;
            if taken.set_aside > 0 {
                self.dead_letters
                    .note(taken.set_aside, "longer than max_message_size");
            }
            if !taken.messages.is_empty() {
                self.crew
                    .start(list, taken.messages.into_iter().enumerate().collect());
            }
        }
        Ok(())
    }

    /// One take. When the queue was empty, the blocking command goes ahead of
    /// the script in the same round trip; what it brings is taken from the
    /// list it moved to, not from its answer.
    async fn take(
        &self,
        connection: &mut MultiplexedConnection,
        list: &str,
        room: Room,
        block: bool,
    ) -> RedisResult<Taken> {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        if block {
            pipe.cmd("BLMOVE")
                .arg(&keys.queue)
                .arg(&keys.taking)
                .arg("LEFT")
                .arg("RIGHT")
                .arg(BLOCK.as_secs());
        }
        pipe.cmd("EVAL")
            .arg(scripts::TAKE)
            .arg(5)
            .arg(&keys.queue)
            .arg(&keys.taking)
            .arg(list)
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(room.messages.min(MAX_BATCH))
            .arg(room.bytes.min(MAX_BATCH_BYTES))
            .arg(self.settings.max_message_size)
            .arg(self.crew.handler().over_long_prefix())
            .arg(DEAD_LETTER_CAP);
        let mut answers: Vec<RedisResult<Value>> = pipe.query_async(connection).await?;
        let script = answers.pop().unwrap_or(Ok(Value::Nil))?;
        let taken = parse(script)?;
        match answers.pop() {
            // With nothing taken, a refused wait must not become a busy loop.
            Some(Err(error)) if taken.messages.is_empty() => Err(error),
            _ => Ok(taken),
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Room for more, or `None` when stopped.
    async fn wait_for_room(&mut self) -> Option<Room> {
        if self.is_stopped() {
            return None;
        }
        tokio::select! {
            room = self.crew.budget().room() => Some(room),
            _ = self.stopped.wait_for(|stopped| *stopped) => None,
        }
    }

    async fn wait_or_stop(&mut self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

fn parse(answer: Value) -> RedisResult<Taken> {
    let mut items: Vec<Value> = redis::from_redis_value(answer)?;
    if items.len() < 2 {
        return Err((
            redis::ErrorKind::UnexpectedReturnType,
            "the taking script answered oddly",
        )
            .into());
    }
    let messages = items.split_off(2);
    let (set_aside, drained) = (items.remove(0), items.remove(0));
    Ok(Taken {
        messages: messages
            .into_iter()
            .map(redis::from_redis_value)
            .collect::<Result<_, _>>()?,
        set_aside: redis::from_redis_value(set_aside)?,
        drained: redis::from_redis_value::<u8>(drained)? == 1,
    })
}
