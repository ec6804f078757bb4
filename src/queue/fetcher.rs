//! Fetches messages off the queue, in batches, on a connection of its own.
//!
//! The future of a fetch is never dropped, because Redis may have moved messages for it: time-outs
//! and cancellations of the redis crate would lose them. The blocking command waits for at most a
//! second, and the fetcher checks the stop flag in between.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;
use tokio::time::sleep;

use super::budget::{Budget, Capacity};
use super::crash_journal::LeftEntries;
use super::delivery::Batch;
use super::executor::BatchExecutor;
use super::fetch::{BLOCK, ScriptAnswer};
use super::keys::BatchId;
use super::left_list::LeftList;
use super::link::Link;
use super::recovery::{LeftLists, Suspects};
use super::reports::Reports;
use super::{Settings, permissions, scripts};
use crate::crash_point::crash_point;
use crate::redis::Backoff;

/// What this part does, in the log.
const FETCHING: &str = "fetching requests";
/// How often the ownership of the queue is renewed while nothing is fetched.
const RENEW: Duration = Duration::from_secs(2);

/// What the fetcher does next. The state outlives a connection: the next one goes on from it.
///
/// ```text
/// FindSuspects → RunSuspects → FindLeftLists → RunLeftLists → Fetch ⇄ AwaitFetch
///                                                               ↑         ↓ connection lost
///                                                               └── RunLostBatch
/// ```
pub(super) enum State {
    /// Finds the requests that may have ended the last process.
    FindSuspects(LeftEntries),
    /// Runs those requests one at a time.
    RunSuspects(Suspects),
    /// Finds the processing lists that earlier processes left.
    FindLeftLists,
    /// Runs the messages in those lists.
    RunLeftLists(LeftLists),
    /// Fetches the next batch.
    Fetch,
    /// Waits for the answer to a fetch. If the connection breaks, Redis may or may not have made
    /// this batch.
    AwaitFetch(BatchId),
    /// Runs the batch of a fetch whose answer never came.
    RunLostBatch(LeftList),
}

/// How the next fetch on a connection goes, after the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NextFetch {
    /// Nothing was fetched on this connection yet.
    First,
    /// At once: the queue had more.
    AtOnce,
    /// After a wait for a message: the queue was empty.
    Blocking,
    /// On a new connection: this one has read a message that was too long, and keeps that much
    /// memory.
    NewConnection,
}

pub(super) struct Fetcher {
    pub(super) settings: Arc<Settings>,
    reports: Arc<Reports>,
    pub(super) executor: BatchExecutor,
    stopped: watch::Receiver<bool>,
    link: Link,
    pub(super) state: State,
    /// Whether the solo run of the first suspect has begun. A connection that breaks does not end it.
    pub(super) is_solo_run: bool,
    pub(super) next_batch: u64,
    /// Whether the fence of this process stood once.
    has_fenced: bool,
    /// Whether this process owned the queue once.
    has_owned: bool,
    pub(super) next_fetch: NextFetch,
}

impl Fetcher {
    /// `left` is what an earlier process left in the crash journal.
    pub(super) fn new(
        settings: Arc<Settings>,
        reports: Arc<Reports>,
        executor: BatchExecutor,
        left: LeftEntries,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            link: Link::new(Arc::clone(&settings), BLOCK),
            settings,
            reports,
            executor,
            stopped,
            state: State::FindSuspects(left),
            is_solo_run: false,
            next_batch: 0,
            has_fenced: false,
            has_owned: false,
            next_fetch: NextFetch::First,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.is_stopped() {
            if let Err(error) = self.serve_connection(&mut backoff).await {
                // Where fetches worked before, a new connection loads the scripts again, or names
                // the missing permission.
                let has_fetched = self.next_fetch != NextFetch::First;
                let helps = scripts::are_missing(&error) || permissions::are_missing(&error);
                if !(helps && has_fetched) {
                    self.reports.failed(FETCHING, &self.link.explain(&error));
                }
                self.wait_or_stop(backoff.wait()).await;
            }
        }
    }

    /// Serves the queue on one connection until the first error or the stop.
    async fn serve_connection(&mut self, backoff: &mut Backoff) -> RedisResult<()> {
        self.next_fetch = NextFetch::First;
        // Connecting may take seconds where nothing answers. A stop waits for it only where Redis
        // may have moved messages that are to be requeued.
        let may_have_moved = match &self.state {
            State::AwaitFetch(_) => true,
            State::RunLostBatch(list) => !list.is_finished(),
            _ => false,
        };
        let mut connection = tokio::select! {
            connection = self.link.connect() => connection?,
            _ = self.stopped.wait_for(|stopped| *stopped), if !may_have_moved => return Ok(()),
        };
        let connection = &mut connection;
        self.set_fence(connection).await?;
        self.recover_lost_fetch(connection).await?;
        if !self.renew(connection).await? {
            return Ok(());
        }
        self.recover_earlier_run(connection).await?;
        self.fetch_until_stopped(connection, backoff).await
    }

    async fn fetch_until_stopped(
        &mut self,
        connection: &mut MultiplexedConnection,
        backoff: &mut Backoff,
    ) -> RedisResult<()> {
        let mut ahead = None;
        loop {
            let batch = match ahead.take() {
                Some(batch) => batch,
                None if self.next_fetch == NextFetch::NewConnection => return Ok(()),
                None => match self.fetch_next(connection, backoff).await? {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            if !batch.is_empty() {
                crash_point("after move");
            }
            ahead = self.run_and_fetch_ahead(connection, batch).await?;
        }
    }

    /// Fetches the next batch once there is capacity; `None` when stopped.
    async fn fetch_next(
        &mut self,
        connection: &mut MultiplexedConnection,
        backoff: &mut Backoff,
    ) -> RedisResult<Option<Batch>> {
        while let Some(capacity) = self.wait_for(connection, Budget::capacity).await? {
            let blocks = self.blocks();
            if let Some(batch) = self.fetch(connection, capacity).await? {
                // A fetch that found nothing proves little: Redis may refuse the blocking command
                // that comes next.
                if blocks || !batch.is_empty() {
                    self.reports.works(FETCHING);
                    *backoff = Backoff::default();
                }
                return Ok(Some(batch));
            }
            self.wait_or_stop(sleep(BLOCK)).await;
        }
        Ok(None)
    }

    /// Returns whether the queue was empty after the last fetch, so that the next one waits.
    pub(super) fn blocks(&self) -> bool {
        self.next_fetch == NextFetch::Blocking
    }

    /// Records who owns the queue. Returns whether the fetch emptied it; `None` where another store
    /// owns it.
    pub(super) fn check_owner(&mut self, answer: ScriptAnswer) -> Option<bool> {
        match answer {
            ScriptAnswer::Owned { too_long, emptied } => {
                self.has_owned = true;
                if too_long > 0 {
                    self.reports
                        .dead_letters(too_long, "longer than max_message_size");
                }
                Some(emptied)
            }
            ScriptAnswer::Foreign(store) if self.has_owned => {
                let why = format!("the store {store} also serves this queue: stop one of the two");
                self.reports.failed(FETCHING, &why);
                None
            }
            ScriptAnswer::Foreign(store) => {
                self.reports.foreign(store);
                None
            }
        }
    }

    /// Sets the fence, first of all on a new connection: from then on, nothing that an earlier
    /// run sent has an effect. On each connection, because a Redis that went back in time has the
    /// fence of an earlier run. But it replaces no fence of a run that this store does not know:
    /// that is of a daemon on a copy of the store.
    async fn set_fence(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let keys = &self.settings.keys;
        if self.has_fenced {
            let token: Option<String> = redis::cmd("GET")
                .arg(&keys.fence)
                .query_async(connection)
                .await?;
            if token.is_some_and(|token| !keys.is_own_token(&token)) {
                return Ok(());
            }
        }
        scripts::eval(scripts::FENCE, &[&keys.fence])
            .arg(keys.fencing_token())
            .exec_async(connection)
            .await?;
        self.has_fenced = true;
        Ok(())
    }

    /// Acquires or renews the ownership of the queue without fetching; returns `false` when another
    /// store owns it.
    async fn renew(&mut self, connection: &mut MultiplexedConnection) -> RedisResult<bool> {
        let next = self.settings.keys.batch(self.next_batch);
        let nothing = Capacity::default();
        let answers = self.send(connection, next, nothing, false).await?;
        let is_owner = self.check_owner(answers.script).is_some();
        if !is_owner {
            self.wait_or_stop(sleep(BLOCK)).await;
        }
        Ok(is_owner)
    }

    /// Renews the ownership of the queue until a future is ready. Waits for the future also after
    /// an error.
    pub(super) async fn renew_during<T>(
        &mut self,
        connection: &mut MultiplexedConnection,
        future: impl Future<Output = T>,
    ) -> (T, RedisResult<()>) {
        let mut future = pin!(future);
        let mut renewed = Ok(());
        loop {
            tokio::select! {
                biased;
                output = &mut future => return (output, renewed),
                () = sleep(RENEW), if renewed.is_ok() => {
                    renewed = self.renew(connection).await.map(|_| ());
                }
            }
        }
    }

    /// Runs a batch once one more may run.
    pub(super) async fn run_batch(
        &mut self,
        connection: &mut MultiplexedConnection,
        batch: Batch,
    ) -> RedisResult<()> {
        let executor = self.executor.clone();
        let (permit, renewed) = self.renew_during(connection, executor.batch_permit()).await;
        executor.run(batch, permit).await;
        renewed
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits for a condition of the budget and returns its value; `None` when stopped.
    pub(super) async fn wait_for<T>(
        &mut self,
        connection: &mut MultiplexedConnection,
        state: impl AsyncFn(&Budget) -> T,
    ) -> RedisResult<Option<T>> {
        loop {
            if self.is_stopped() {
                return Ok(None);
            }
            tokio::select! {
                output = state(&self.executor.budget) => return Ok(Some(output)),
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(None),
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
