//! Takes messages off the queue, in batches, on a connection of its own.
//!
//! The future of a take is never dropped: Redis may have moved messages for
//! it. The blocking command waits for a second at most, and the taker looks
//! at the stop flag in between.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::sync::watch;
use tokio::time::sleep;

use super::availability::{Availability, Backoff};
use super::budget::Room;
use super::connection::Link;
use super::crew::{Crew, Messages};
use super::dead_letter_log::DeadLetterLog;
use super::keys::{DEAD_LETTER_CAP, OWNER_TTL};
use super::take_over::TakeOver;
use super::{Settings, recovery, scripts};
use crate::crash_point::crash_point;
use crate::model::DeliveryId;

/// What this part does, in the log.
const TAKING: &str = "taking requests";
/// How long the blocking command waits on an empty queue.
const BLOCK: Duration = Duration::from_secs(1);
/// How often the ownership of the queue is renewed while nothing is taken.
const RENEW: Duration = Duration::from_secs(2);
/// Most messages in one batch: more gain nothing (measured), and would make
/// the lists long that a slow request keeps.
const MAX_BATCH: usize = 128;
/// Most bytes in one batch, unless a single message is longer.
const MAX_BATCH_BYTES: usize = 4 << 20;

pub(super) struct Taker {
    pub(super) settings: Arc<Settings>,
    availability: Arc<Availability>,
    pub(super) crew: Crew,
    pub(super) takeover: TakeOver,
    dead_letters: Arc<DeadLetterLog>,
    stopped: watch::Receiver<bool>,
    link: Link,
    next_batch: u64,
    /// The batch that was asked for and whose answer never came.
    unanswered: Option<u64>,
    /// Whether the queue was empty at the last take.
    drained: bool,
    /// Whether the connection has had to read an over-long message, and now
    /// holds on to that much memory.
    bloated: bool,
    /// Whether the queue has been ours at all.
    owned: bool,
    /// Whether the fence of this run was ever up.
    fenced: bool,
}

/// The answer of the taking script.
enum Answer {
    /// The queue is ours.
    Taken(Taken),
    /// It belongs to another store.
    Foreign(String),
}

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
        takeover: TakeOver,
        dead_letters: Arc<DeadLetterLog>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            link: Link::new(settings.connector.clone(), BLOCK),
            settings,
            availability,
            crew,
            takeover,
            dead_letters,
            stopped,
            next_batch: 0,
            unanswered: None,
            drained: false,
            bloated: false,
            owned: false,
            fenced: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.is_stopped() {
            if let Err(error) = self.take_until_stopped(&mut backoff).await {
                self.availability.failed(TAKING, &error.to_string());
                self.wait_or_stop(backoff.wait()).await;
            }
        }
    }

    /// Takes on one connection, as long as there is no error.
    async fn take_until_stopped(&mut self, backoff: &mut Backoff) -> RedisResult<()> {
        let mut connection = self.link.connect().await?;
        self.drained = false;
        self.bloated = false;
        self.put_up_fence(&mut connection).await?;
        self.resume(&mut connection).await?;
        // Before anything is taken: is the queue ours?
        if !self.renew(&mut connection).await? {
            return Ok(());
        }
        self.take_over(&mut connection).await?;
        while let Some(room) = self.wait_for_room(&mut connection).await? {
            let block = self.drained;
            match self.take(&mut connection, room, block).await? {
                Some(messages) => {
                    // A take that had nothing to do proves little: the wait
                    // behind it may be refused.
                    if block || !messages.open.is_empty() {
                        self.availability.works(TAKING);
                        backoff.reset();
                    }
                    if !messages.open.is_empty() {
                        crash_point("after move");
                    }
                    self.work(&mut connection, messages, false).await?;
                    if self.bloated {
                        return Ok(());
                    }
                }
                None => {
                    self.drained = false;
                    self.wait_or_stop(sleep(BLOCK)).await;
                }
            }
        }
        Ok(())
    }

    /// Runs the batch whose answer never came, if it was made. It was never
    /// started.
    async fn resume(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if let Some(number) = self.unanswered {
            let batch = (self.settings.keys.boot(), number);
            let messages = recovery::open_entries(connection, &self.settings.keys, batch).await?;
            self.unanswered = None;
            self.work(connection, messages, false).await?;
        }
        Ok(())
    }

    /// Before anything else on a connection: from then on nothing that an
    /// earlier run had sent has an effect. Again on each one, because a Redis
    /// that went back in time has the fence of an earlier run; but not over a
    /// run that this store does not know: that is a daemon on a copy of it.
    async fn put_up_fence(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let keys = &self.settings.keys;
        if self.fenced {
            let standing: Option<String> = redis::cmd("GET")
                .arg(&keys.fence)
                .query_async(connection)
                .await?;
            if standing.is_some_and(|run| !keys.knows(&run)) {
                return Ok(());
            }
        }
        redis::cmd("EVAL")
            .arg(scripts::FENCE)
            .arg(1)
            .arg(&keys.fence)
            .arg(keys.run())
            .exec_async(connection)
            .await?;
        self.fenced = true;
        Ok(())
    }

    /// Works on messages until their fast work is over, and keeps the queue
    /// meanwhile.
    pub(super) async fn work(
        &mut self,
        connection: &mut MultiplexedConnection,
        messages: Messages,
        redelivered: bool,
    ) -> RedisResult<()> {
        let crew = self.crew.clone();
        let mut work = pin!(crew.work(messages, redelivered));
        let mut renewed = Ok(());
        loop {
            tokio::select! {
                () = &mut work => return renewed,
                () = sleep(RENEW), if renewed.is_ok() => {
                    renewed = self.renew(connection).await.map(|_| ());
                }
            }
        }
    }

    /// Takes the queue, or keeps it, without taking anything off it. `false`
    /// when it is another's.
    async fn renew(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<bool> {
        let nothing = Room {
            messages: 0,
            bytes: 0,
        };
        let pipe = self.taking(self.next_batch, nothing, false);
        let (answer, _) = ask(connection, &pipe).await?;
        let ours = self.judge(answer).is_some();
        if !ours {
            self.wait_or_stop(sleep(BLOCK)).await;
        }
        Ok(ours)
    }

    /// One take; `None` when the queue is another's. When the queue was empty,
    /// the blocking command goes ahead of the script in the same round trip;
    /// what it brings is taken from the list it moved to, not from its answer.
    async fn take(
        &mut self,
        connection: &mut MultiplexedConnection,
        room: Room,
        block: bool,
    ) -> RedisResult<Option<Messages>> {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.unanswered = Some(batch);
        let (answer, blocked) = ask(connection, &self.taking(batch, room, block)).await?;
        self.unanswered = None;
        let Some(taken) = self.judge(answer) else {
            return Ok(None);
        };
        // With nothing taken, a refused wait must not become a busy loop.
        match blocked {
            Err(error) if taken.messages.is_empty() => return Err(error),
            Ok(Value::BulkString(brought)) => {
                self.bloated = brought.len() > self.settings.max_message_size;
            }
            _ => {}
        }
        self.drained = taken.drained;
        Ok(Some(self.messages(batch, taken.messages)))
    }

    /// Notes whose the queue is.
    fn judge(&mut self, answer: Answer) -> Option<Taken> {
        match answer {
            Answer::Taken(taken) => {
                self.owned = true;
                if taken.set_aside > 0 {
                    self.dead_letters
                        .note(taken.set_aside, "longer than max_message_size");
                }
                Some(taken)
            }
            Answer::Foreign(store) if self.owned => {
                let why = format!("the store {store} works on this queue, too: stop one");
                self.availability.failed(TAKING, &why);
                None
            }
            Answer::Foreign(store) => {
                self.availability.foreign(store);
                None
            }
        }
    }

    fn messages(&self, batch: u64, messages: Vec<Vec<u8>>) -> Messages {
        let boot = self.settings.keys.boot();
        let count = messages.len();
        let open = messages.into_iter().zip(0..).map(|(message, position)| {
            let id = DeliveryId {
                boot,
                batch,
                position,
            };
            (id, message)
        });
        Messages {
            list: self.settings.keys.batch(boot, batch),
            entries: count,
            open: open.collect(),
        }
    }

    fn taking(&self, batch: u64, room: Room, block: bool) -> redis::Pipeline {
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
            .arg(7)
            .arg(&keys.queue)
            .arg(&keys.taking)
            .arg(keys.batch(keys.boot(), batch))
            .arg(&keys.lists)
            .arg(&keys.dead)
            .arg(&keys.owner)
            .arg(&keys.fence)
            .arg(room.messages.min(MAX_BATCH))
            .arg(room.bytes.min(MAX_BATCH_BYTES))
            .arg(self.settings.max_message_size)
            .arg(self.crew.handler().over_long_prefix())
            .arg(DEAD_LETTER_CAP)
            .arg(&keys.store_id)
            .arg(OWNER_TTL.as_secs())
            .arg(keys.run());
        pipe
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Room for more, or `None` when stopped.
    pub(super) async fn wait_for_room(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<Room>> {
        loop {
            if self.is_stopped() {
                return Ok(None);
            }
            tokio::select! {
                room = self.crew.budget().room() => return Ok(Some(room)),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(None),
                () = sleep(RENEW) => {}
            }
            self.renew(connection).await?;
        }
    }

    /// Waits until nothing is in flight, or until stopped.
    pub(super) async fn wait_until_idle(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        loop {
            tokio::select! {
                () = self.crew.budget().idle() => return Ok(()),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(()),
                () = sleep(RENEW) => {}
            }
            self.renew(connection).await?;
        }
    }

    async fn wait_or_stop(&mut self, wait: impl Future<Output = ()>) {
        tokio::select! {
            () = wait => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

/// The answer of the taking script, and of the blocking command before it.
async fn ask(
    connection: &mut MultiplexedConnection,
    pipe: &redis::Pipeline,
) -> RedisResult<(Answer, RedisResult<Value>)> {
    let mut answers: Vec<RedisResult<Value>> = pipe.query_async(connection).await?;
    let answer = parse(answers.pop().unwrap_or(Ok(Value::Nil))?)?;
    Ok((answer, answers.pop().unwrap_or(Ok(Value::Nil))))
}

fn parse(answer: Value) -> RedisResult<Answer> {
    if let Value::BulkString(_) = answer {
        return Ok(Answer::Foreign(redis::from_redis_value(answer)?));
    }
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
    Ok(Answer::Taken(Taken {
        messages: messages
            .into_iter()
            .map(redis::from_redis_value)
            .collect::<Result<_, _>>()?,
        set_aside: redis::from_redis_value(set_aside)?,
        drained: redis::from_redis_value::<u8>(drained)? == 1,
    }))
}
