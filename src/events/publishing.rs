//! The way to Redis: many events in one round trip, each sent once.
//!
//! What was sent and not answered is never sent again, because it may have
//! arrived: rather none than two. Until there is a connection, events wait.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult};
use tokio::sync::{mpsc, watch};
use tracing::debug;

use super::losses::Losses;
use crate::config::Destination;
use crate::redis::{Backoff, Connector};

/// Events in one round trip.
const BATCH: usize = 128;
/// Most messages in a node's list, its own included: it is not read, and must
/// not fill the memory of Redis.
const LONGEST_LIST: usize = 10_000;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Appends as many of the messages as there is room for; says how many.
const APPEND: &str = "\
local room = math.min(tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1]), #ARGV - 1)
if room <= 0 then return 0 end
redis.call('RPUSH', KEYS[1], unpack(ARGV, 2, room + 1))
return room";

/// Takes events out of the queue and sends them.
pub(super) struct Task {
    connector: Connector,
    destinations: Vec<Destination>,
    queue: mpsc::Receiver<Vec<u8>>,
    stopped: watch::Receiver<bool>,
    losses: Arc<Losses>,
}

impl Task {
    pub(super) const fn new(
        connector: Connector,
        destinations: Vec<Destination>,
        queue: mpsc::Receiver<Vec<u8>>,
        stopped: watch::Receiver<bool>,
        losses: Arc<Losses>,
    ) -> Self {
        Self {
            connector,
            destinations,
            queue,
            stopped,
            losses,
        }
    }

    /// Runs until it is stopped and the queue is empty, or Redis away.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut connection = None;
        loop {
            let was_idle = self.queue.is_empty();
            if !self.next(&mut batch).await {
                return;
            }
            let Some(connected) = self.connected(connection.take(), was_idle).await else {
                let lost = (batch.len() + self.queue.len()) * self.destinations.len();
                self.losses.add(lost, || "Redis is away".into());
                return;
            };
            connection = self.send(connected, &batch).await;
            batch.clear();
            self.losses.tell_if_due();
        }
    }

    /// Waits for events. `false`: there will be none any more.
    async fn next(&mut self, batch: &mut Vec<Vec<u8>>) -> bool {
        let stopped = *self.stopped.borrow();
        tokio::select! {
            biased;
            count = self.queue.recv_many(batch, BATCH) => return count > 0,
            // Whether it is told to stop or nobody is left to tell.
            _ = self.stopped.changed(), if !stopped => {}
        }
        self.queue.close();
        self.queue.recv_many(batch, BATCH).await > 0
    }

    /// A connection that is alive, as far as can be told. `None` where there
    /// is none and it is time to stop.
    ///
    /// One that was idle is asked first: Redis may have been started anew, and
    /// what is sent to nobody is lost.
    async fn connected(
        &mut self,
        last: Option<MultiplexedConnection>,
        was_idle: bool,
    ) -> Option<MultiplexedConnection> {
        if let Some(mut connection) = last
            && (!was_idle || is_alive(&mut connection).await)
        {
            return Some(connection);
        }
        let mut backoff = Backoff::new();
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

    /// Sends events, once; gives the connection back if it still works.
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
                    command.arg(LONGEST_LIST);
                    for message in batch {
                        command.arg(message.as_slice());
                    }
                }
            }
        }
        pipeline
    }

    /// Holds the answers against what was sent, in the same order.
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
                    // How many nodes listen to a channel is their business.
                    (Ok(_), Destination::Channel(_)) => continue,
                    (Ok(pushed), Destination::List(_)) => {
                        let lost = each.saturating_sub(usize::try_from(pushed).unwrap_or(0));
                        (lost, format!("it holds {LONGEST_LIST} messages"))
                    }
                };
                if lost > 0 {
                    self.losses.add(lost, || format!("{name}: {why}"));
                }
            }
        }
    }
}

/// Whether the other side answers, be it with a refusal.
async fn is_alive(connection: &mut MultiplexedConnection) -> bool {
    let answer: RedisResult<redis::Value> = redis::cmd("PING").query_async(connection).await;
    match answer {
        Ok(_) => true,
        Err(error) => error.code().is_some(),
    }
}
