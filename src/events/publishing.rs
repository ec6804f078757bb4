//! The task that sends queued events to Redis, up to 128 in one round trip, on a connection of its
//! own.
//!
//! Delivery is at most once. Events of a round trip without an answer may have arrived, so they are
//! not sent again. Without a connection, events stay in the queue. A connection that was idle is
//! checked before it is used.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::losses::Losses;
use crate::config::Destination;
use crate::redis::{Backoff, Connector};

/// Maximum number of events in one round trip.
const MAX_BATCH: usize = 128;
/// Maximum length of a node's list, counting messages from other clients: the list of a node that
/// is down is not read and must not fill the memory of Redis.
const MAX_LIST_LENGTH: usize = 10_000;
/// Maximum time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time until Redis answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Appends messages until the list has its maximum length. Returns how many it appended.
const APPEND: &str = "\
local count = math.min(tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1]), #ARGV - 1)
if count <= 0 then return 0 end
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2, count + 1))
return count";

/// Receives events from the queue and sends them.
pub(super) struct PublisherTask {
    pub(super) connector: Connector,
    pub(super) destinations: Vec<Destination>,
    pub(super) queue: mpsc::Receiver<Vec<u8>>,
    pub(super) stopped: watch::Receiver<bool>,
    pub(super) losses: Arc<Losses>,
}

impl PublisherTask {
    /// Runs until it is stopped and either the queue is empty or Redis is unavailable.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut last_connection = None;
        loop {
            let was_idle = self.queue.is_empty();
            if !self.receive(&mut batch).await {
                return;
            }
            let Some(connection) = self.connect(last_connection.take(), was_idle).await else {
                let lost = (batch.len() + self.queue.len()) * self.destinations.len();
                self.losses.add(lost, || "Redis is unavailable".into());
                return;
            };
            last_connection = self.send(connection, &batch).await;
            batch.clear();
            self.losses.log_if_due();
        }
    }

    /// Waits for events and adds them to `batch`. Returns `false` once the queue is closed and
    /// empty.
    async fn receive(&mut self, batch: &mut Vec<Vec<u8>>) -> bool {
        let stopped = *self.stopped.borrow();
        tokio::select! {
            biased;
            count = self.queue.recv_many(batch, MAX_BATCH) => return count > 0,
            // An error means that the handle was dropped, which also stops the task.
            _ = self.stopped.changed(), if !stopped => {}
        }
        self.queue.close();
        self.queue.recv_many(batch, MAX_BATCH).await > 0
    }

    /// Returns the last connection if it is alive, or a new one. Returns `None` if Redis is
    /// unavailable and the task is to stop.
    ///
    /// An idle connection is checked first: Redis may have restarted, and events sent on a dead
    /// connection are lost.
    async fn connect(
        &mut self,
        last: Option<MultiplexedConnection>,
        was_idle: bool,
    ) -> Option<MultiplexedConnection> {
        if let Some(mut connection) = last
            && (!was_idle || is_alive(&mut connection).await)
        {
            return Some(connection);
        }
        let mut backoff = Backoff::default();
        loop {
            match self
                .connector
                .connect(CONNECT_TIMEOUT, ANSWER_TIMEOUT)
                .await
            {
                Ok(connection) => return Some(connection),
                Err(error) => debug!(%error, "events wait for Redis"),
            }
            if *self.stopped.borrow() {
                return None;
            }
            tokio::select! {
                () = backoff.wait() => {}
                _ = self.stopped.changed() => return None,
            }
        }
    }

    /// Sends events once. Returns the connection if it still works.
    async fn send(
        &self,
        mut connection: MultiplexedConnection,
        batch: &[Vec<u8>],
    ) -> Option<MultiplexedConnection> {
        let answers: RedisResult<Vec<RedisResult<i64>>> =
            self.pipeline(batch).query_async(&mut connection).await;
        match answers {
            Ok(answers) => {
                self.count_losses(batch.len(), answers);
                Some(connection)
            }
            Err(error) => {
                let lost = batch.len() * self.destinations.len();
                self.losses.add(lost, || error.to_string());
                None
            }
        }
    }

    fn pipeline(&self, batch: &[Vec<u8>]) -> Pipeline {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for destination in &self.destinations {
            match destination {
                Destination::Channel(channel) => {
                    for message in batch {
                        pipeline.cmd("PUBLISH").arg(channel).arg(message.as_slice());
                    }
                }
                Destination::List(list) => {
                    let command = pipeline.cmd("EVAL").arg(APPEND).arg(1).arg(list);
                    command.arg(MAX_LIST_LENGTH);
                    for message in batch {
                        command.arg(message.as_slice());
                    }
                }
            }
        }
        pipeline
    }

    /// Counts the events that Redis refused. The answers are in the order of the commands.
    fn count_losses(&self, sent: usize, answers: Vec<RedisResult<i64>>) {
        let mut answers = answers.into_iter();
        for destination in &self.destinations {
            let (name, commands, each) = match destination {
                Destination::Channel(name) => (name, sent, 1),
                Destination::List(name) => (name, 1, sent),
            };
            for answer in answers.by_ref().take(commands) {
                let (lost, why) = match (answer, destination) {
                    (Err(error), _) => (each, error.to_string()),
                    // A channel without subscribers is no loss.
                    (Ok(_), Destination::Channel(_)) => continue,
                    (Ok(pushed), Destination::List(_)) => {
                        let lost = each.saturating_sub(usize::try_from(pushed).unwrap_or(0));
                        let why = format!("the list already holds {MAX_LIST_LENGTH} messages");
                        (lost, why)
                    }
                };
                if lost > 0 {
                    self.losses.add(lost, || format!("{name}: {why}"));
                }
            }
        }
    }
}

/// Returns whether Redis answers a `PING`. An error reply (`NOPERM`) counts as an answer.
async fn is_alive(connection: &mut MultiplexedConnection) -> bool {
    let answer: RedisResult<redis::Value> = redis::cmd("PING").query_async(connection).await;
    match answer {
        Ok(_) => true,
        Err(error) => error.code().is_some(),
    }
}
