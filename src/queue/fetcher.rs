//! Takes messages off the queue, in batches, on a connection of its own.
//!
//! The future of a take is never dropped: Redis may have moved messages for
//! it. The blocking command waits for a second at most, and the fetcher looks
//! at the stop flag in between.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::availability::Availability;
use super::budget::Capacity;
use super::dead_letter_log::DeadLetterLog;
use super::executor::{BatchExecutor, Messages};
use super::link::Link;
use super::recovery::LeftList;
use super::take_over::TakeOver;
use super::taking::{Answer, BLOCK, MAX_BATCH_BYTES, Take, Taken, ask, messages_of};
use super::{Settings, recovery, rights, scripts};
use crate::crash_point::crash_point;
use crate::redis::Backoff;

/// What this part does, in the log.
const TAKING: &str = "taking requests";
/// How often the ownership of the queue is renewed while nothing is taken.
const RENEW: Duration = Duration::from_secs(2);
/// Messages to work on from which the next take goes ahead of the work: with
/// fewer it would only keep their replies waiting.
const AHEAD_FROM: usize = 8;

pub(super) struct Fetcher {
    pub(super) settings: Arc<Settings>,
    availability: Arc<Availability>,
    pub(super) executor: BatchExecutor,
    pub(super) takeover: TakeOver,
    dead_letters: Arc<DeadLetterLog>,
    stopped: watch::Receiver<bool>,
    link: Link,
    next_batch: u64,
    /// The batch that was asked for and whose answer never came.
    unanswered: Option<u64>,
    /// The list that an earlier run, or an answer that never came, has left, as
    /// far as it is not read yet.
    pub(super) left_list: Option<LeftList>,
    /// Whether a take has succeeded since the scripts were forgotten.
    took: bool,
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

impl Fetcher {
    pub(super) fn new(
        settings: Arc<Settings>,
        availability: Arc<Availability>,
        executor: BatchExecutor,
        takeover: TakeOver,
        dead_letters: Arc<DeadLetterLog>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            link: Link::new(settings.connector.clone(), settings.keys.clone(), BLOCK),
            settings,
            availability,
            executor,
            takeover,
            dead_letters,
            stopped,
            next_batch: 0,
            unanswered: None,
            left_list: None,
            took: false,
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
                // Once, a new connection is all that is needed.
                let helps = scripts::are_forgotten(&error) || rights::are_missing(&error);
                if !helps || !std::mem::take(&mut self.took) {
                    self.availability.failed(TAKING, &self.link.explain(&error));
                }
                self.wait_or_stop(backoff.wait()).await;
            }
        }
    }

    /// Takes on one connection, as long as there is no error.
    async fn take_until_stopped(&mut self, backoff: &mut Backoff) -> RedisResult<()> {
        // Making one may take seconds where nothing answers: a stop waits for it only
        // where there may be messages to give back.
        let has_taken = |list: &LeftList| !list.redelivered;
        let may_have_taken =
            self.unanswered.is_some() || self.left_list.as_ref().is_some_and(has_taken);
        let mut connection = tokio::select! {
            connection = self.link.connect() => connection?,
            _ = self.stopped.wait_for(|stopped| *stopped), if !may_have_taken => return Ok(()),
        };
        self.drained = false;
        self.bloated = false;
        self.put_up_fence(&mut connection).await?;
        self.resume(&mut connection).await?;
        // Before anything is taken: is the queue ours?
        if !self.renew(&mut connection).await? {
            return Ok(());
        }
        self.take_over(&mut connection).await?;
        let mut ahead = None;
        loop {
            let messages = match ahead.take() {
                Some(messages) => messages,
                None if self.bloated => return Ok(()),
                None => match self.take_next(&mut connection, backoff).await? {
                    Some(messages) => messages,
                    None => return Ok(()),
                },
            };
            if !messages.open.is_empty() {
                crash_point("after move");
            }
            ahead = self.work_and_take_ahead(&mut connection, messages).await?;
        }
    }

    /// The next batch, when there is room for one; `None` when stopped.
    async fn take_next(
        &mut self,
        connection: &mut MultiplexedConnection,
        backoff: &mut Backoff,
    ) -> RedisResult<Option<Messages>> {
        while let Some(room) = self.wait_for_room(connection).await? {
            let block = self.drained;
            if let Some(messages) = self.take(connection, room, block).await? {
                // A take that had nothing to do proves little: the wait
                // behind it may be refused.
                if block || !messages.open.is_empty() {
                    self.availability.works(TAKING);
                    backoff.reset();
                }
                return Ok(Some(messages));
            }
            self.drained = false;
            self.wait_or_stop(sleep(BLOCK)).await;
        }
        Ok(None)
    }

    /// Runs the batch whose answer never came, if it was made. It was never
    /// started.
    async fn resume(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if let Some(number) = self.unanswered {
            let batch = (self.settings.keys.boot(), number);
            let entries = recovery::entries(connection, &self.settings.keys, batch).await?;
            self.unanswered = None;
            self.left_list = LeftList::new(&self.executor, &self.settings.keys, entries, false);
        }
        // What taking over has begun goes on in its place.
        if self.takeover.done {
            self.run_left_list(connection).await?;
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

    /// Has messages worked on as soon as there is a place for them, and keeps the
    /// queue until then.
    pub(super) async fn work(
        &mut self,
        connection: &mut MultiplexedConnection,
        messages: Messages,
        redelivered: bool,
    ) -> RedisResult<()> {
        let executor = self.executor.clone();
        let claimed = executor.claim(messages, redelivered);
        let (place, kept) = self.keep_during(connection, executor.place()).await;
        executor.work(claimed, place).await;
        kept
    }

    /// Keeps the queue until something has come true, also after an error.
    async fn keep_during<T>(
        &mut self,
        connection: &mut MultiplexedConnection,
        something: impl Future<Output = T>,
    ) -> (T, RedisResult<()>) {
        let mut something = pin!(something);
        let mut renewed = Ok(());
        loop {
            tokio::select! {
                biased;
                done = &mut something => return (done, renewed),
                () = sleep(RENEW), if renewed.is_ok() => {
                    renewed = self.renew(connection).await.map(|_| ());
                }
            }
        }
    }

    /// Has messages worked on and, unless they are few, Redis have the next take
    /// meanwhile.
    async fn work_and_take_ahead(
        &mut self,
        connection: &mut MultiplexedConnection,
        messages: Messages,
    ) -> RedisResult<Option<Messages>> {
        let executor = self.executor.clone();
        let claimed = executor.claim(messages, false);
        let many = !self.drained || claimed.count() >= AHEAD_FROM;
        let (place, kept) = self.keep_during(connection, executor.place()).await;
        let room = executor.budget().left();
        let ahead = many && kept.is_ok() && !self.bloated && !self.is_stopped();
        if !ahead || room.is_none() {
            executor.work(claimed, place).await;
            return kept.map(|()| None);
        }
        let block = self.drained;
        let (taken, ()) = tokio::join!(self.take(connection, room, block), async {
            // The take goes before the work.
            yield_now().await;
            executor.work(claimed, place).await;
        });
        taken
    }

    /// Takes the queue, or keeps it, without taking anything off it. `false`
    /// when it is another's.
    async fn renew(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<bool> {
        let nothing = Capacity {
            messages: 0,
            bytes: 0,
        };
        let pipe = self.ask_for(self.next_batch, nothing, false);
        let answers = ask(connection, &pipe).await?;
        let ours = self.judge(answers.taken).is_some();
        if !ours {
            self.wait_or_stop(sleep(BLOCK)).await;
        }
        Ok(ours)
    }

    /// One take; `None` when the queue is another's. When the queue was empty,
    /// the blocking command goes ahead of the script in the same round trip.
    async fn take(
        &mut self,
        connection: &mut MultiplexedConnection,
        room: Capacity,
        block: bool,
    ) -> RedisResult<Option<Messages>> {
        let batch = self.next_batch;
        self.next_batch += 1;
        self.unanswered = Some(batch);
        let answers = ask(connection, &self.ask_for(batch, room, block)).await?;
        let messages = answers.messages?;
        self.unanswered = None;
        self.took = true;
        let Some(taken) = self.judge(answers.taken) else {
            return Ok(None);
        };
        // With nothing taken, a refused wait must not become a busy loop.
        match answers.waited {
            Err(error) if messages.is_empty() => return Err(error),
            Ok(Value::BulkString(first)) => {
                self.bloated |= first.len() > self.settings.max_message_size;
            }
            _ => {}
        }
        // Redis can be made to compress lists: then it told too small a size.
        self.bloated |= messages.iter().map(Vec::len).sum::<usize>() > 2 * MAX_BATCH_BYTES;
        self.drained = taken.drained;
        let keys = &self.settings.keys;
        let number = (keys.boot(), batch);
        let count = messages.len();
        let list = self
            .executor
            .batch(keys.batch(number.0, number.1), count, count);
        Ok(Some(messages_of(list, number, messages)))
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

    fn ask_for(&self, batch: u64, room: Capacity, block: bool) -> Pipeline {
        let prefix = self.executor.handler().over_long_prefix();
        let take = Take { batch, room, block };
        take.pipeline(&self.settings, self.link.scripts.take(), &prefix)
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Room for more, or `None` when stopped.
    pub(super) async fn wait_for_room(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<Capacity>> {
        loop {
            if self.is_stopped() {
                return Ok(None);
            }
            tokio::select! {
                room = self.executor.budget().room() => return Ok(Some(room)),
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
                () = self.executor.budget().idle() => return Ok(()),
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
