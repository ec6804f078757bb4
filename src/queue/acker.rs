//! Settles messages: sends replies and dead letters, and gives back what was
//! not started.
//!
//! A settling step that got no answer is repeated as it was: the script
//! passes over what is settled already.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, RedisResult};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::crash_point::crash_point;
use crate::redis::{ANSWER_TIMEOUT, Backoff, sending_time};

use super::availability::Availability;
use super::dead_letter_log::DeadLetterLog;
use super::executor::{Batch, Delivery, Done};
use super::link::Link;
use super::settling::{Group, Refusal, group_by_list, in_rounds, parse_refused};
use super::{Disposition, Handler, Settings, rights, scripts};

/// What this part does, in the log.
pub(super) const SETTLING: &str = "sending replies";
/// How often replies that were refused are tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Most batches, or parts of them, that are settled in one round trip.
const MAX_ROUND: usize = 128;

pub(super) struct Acker {
    pub(super) settings: Arc<Settings>,
    pub(super) availability: Arc<Availability>,
    handler: Arc<dyn Handler>,
    link: Link,
    connection: Option<MultiplexedConnection>,
    /// How many failures there had been when it was made.
    failures: u64,
    dead_letters: Arc<DeadLetterLog>,
    /// Entries whose reply list was refused.
    pub(super) refused: Vec<Group>,
    /// Whether any reply was delivered since the last of them.
    pub(super) delivered: bool,
    /// The id of the last reply that was delivered: its list could be written.
    pub(super) last_delivered: Option<String>,
    /// When it was last said that all reply lists are refused.
    pub(super) told: Option<Instant>,
}

impl Acker {
    pub(super) fn new(
        settings: Arc<Settings>,
        availability: Arc<Availability>,
        handler: Arc<dyn Handler>,
        dead_letters: Arc<DeadLetterLog>,
    ) -> Self {
        Self {
            link: Link::new(
                settings.connector.clone(),
                settings.keys.clone(),
                Duration::ZERO,
            ),
            settings,
            availability,
            handler,
            connection: None,
            failures: 0,
            dead_letters,
            refused: Vec::new(),
            delivered: false,
            last_delivered: None,
            told: None,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Vec<Done>>) {
        let mut given_back = Vec::new();
        let mut round = Vec::with_capacity(MAX_ROUND);
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = inbox.recv_many(&mut round, MAX_ROUND) => if taken == 0 { break },
                _ = retry.tick(), if !self.refused.is_empty() => self.retry_refused().await,
            }
            let mut finished = Vec::new();
            for (delivery, disposition) in round.drain(..).flatten() {
                match disposition {
                    Disposition::Finished(done) => finished.push((delivery, done)),
                    Disposition::Requeue => given_back.push(delivery),
                    // Its list stays, because it is never fully settled.
                    Disposition::Unresolved => {}
                }
            }
            for round in in_rounds(finished) {
                self.settle_groups(group_by_list(round)).await;
            }
            if self.delivered && !self.refused.is_empty() {
                self.retry_refused().await;
            }
        }
        crash_point("in shutdown");
        self.leave_refused().await;
        self.give_back(given_back).await;
        self.leave().await;
    }

    /// Settles what takes one round trip, however long Redis is away. After a
    /// failure each entry goes on its own, so that one that Redis will never
    /// take does not keep the others.
    pub(super) async fn settle_groups(&mut self, mut groups: Vec<Group>) {
        let mut backoff = Backoff::new();
        while !groups.is_empty() {
            let was_kept = self.connection.is_some();
            let first = groups.iter().all(|group| group.tries == 0);
            let failed = if first {
                self.try_to_settle(&mut groups).await
            } else {
                self.try_to_settle_singly(&mut groups).await
            };
            match failed {
                _ if groups.is_empty() => self.availability.works(SETTLING),
                // That Redis has closed a kept connection, or has started anew,
                // is noticed only when it is used: it may be back long since.
                Some(error) if first && was_kept && needs_another(&error) => {}
                // Which of the lists is refused is seen one by one.
                Some(error) if rights::is_about_keys(&error) => {}
                failed => {
                    if let Some(error) = failed {
                        self.failed(&error);
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn try_to_settle_singly(&mut self, groups: &mut Vec<Group>) -> Option<RedisError> {
        let mut failure = None;
        for mut single in std::mem::take(groups).into_iter().flat_map(Group::singly) {
            // Behind a connection that cannot be made, one try is enough.
            if failure.is_none() {
                let mut alone = vec![single];
                failure = self.try_to_settle(&mut alone).await;
                let Some(left) = alone.pop() else { continue };
                single = left;
                if failure.as_ref().is_some_and(rights::is_about_keys) {
                    // As often as it is tried: this says nothing against it.
                    single.tries = 1;
                    for (delivery, _) in &mut single.entries {
                        delivery.park();
                    }
                    self.delivered = false;
                    self.refused.push(single);
                    failure = None;
                    continue;
                }
                if failure
                    .as_ref()
                    .is_some_and(|error| single.is_hopeless(error))
                {
                    self.give_up(&mut single);
                    failure = None;
                }
            }
            groups.push(single);
        }
        failure
    }

    /// One round trip. Leaves in `groups` what is not settled.
    pub(super) async fn try_to_settle(&mut self, groups: &mut Vec<Group>) -> Option<RedisError> {
        if let Err(error) = self.connect().await {
            return Some(error);
        }
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        let undeliverable = self.handler.undeliverable_prefix();
        for group in &mut *groups {
            group.add_to(
                &mut pipe,
                self.link.scripts.settle(),
                &self.settings,
                &undeliverable,
            );
            group.tries += 1;
        }
        crash_point("before reply");
        let bytes = groups.iter().map(Group::bytes).sum();
        let answers: RedisResult<Vec<RedisResult<Vec<redis::Value>>>> =
            self.send(&pipe, bytes).await;
        crash_point("after reply");
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return Some(error),
        };
        let mut failure = None;
        for (mut group, answer) in std::mem::take(groups).into_iter().zip(answers) {
            match answer.and_then(parse_refused) {
                Ok(refused) => groups.extend(self.settled(group, &refused)),
                Err(error) => {
                    // Without the script nothing was tried.
                    group.tries -= u32::from(scripts::are_forgotten(&error));
                    groups.push(group);
                    // A Redis that has become a replica refuses for good.
                    if !rights::is_about_keys(&error) {
                        self.connection = None;
                    }
                    failure = Some(error);
                }
            }
        }
        failure
    }

    /// What of a group is still to be settled after an answer.
    fn settled(&mut self, mut group: Group, refused: &HashMap<usize, Refusal>) -> Option<Group> {
        let mut waiting = Vec::new();
        let mut done = Vec::new();
        for ((delivery, mut finished), number) in group.entries.drain(..).zip(1..) {
            match refused.get(&number) {
                Some(refusal) if refusal.left => {
                    self.availability.failed(SETTLING, &refusal.error);
                    waiting.push((delivery, finished));
                    continue;
                }
                Some(refusal) => self.dead_letters.note(1, &refusal.error),
                None => {
                    if let Some(reply) = finished.reply.take() {
                        self.delivered = true;
                        self.last_delivered = Some(reply.id);
                    }
                }
            }
            if let Some(dead_letter) = &finished.dead_letter {
                self.dead_letters.note(1, &dead_letter.reason);
            }
            group.batch.open.fetch_sub(1, Ordering::Relaxed);
            if finished.left_outcome {
                done.push(delivery.id);
            }
        }
        if !done.is_empty() {
            self.handler.settled(done);
        }
        group.entries = waiting;
        (!group.entries.is_empty()).then_some(group)
    }

    /// Puts a dead letter in the place of a reply that Redis will never take.
    pub(super) fn give_up(&self, single: &mut Group) {
        for (_, finished) in &mut single.entries {
            if let Some(reply) = finished.reply.take() {
                finished.dead_letter = self.handler.undeliverable(&reply.id);
            }
        }
    }

    /// Gives back everything that was not started, the last first, so that
    /// the first stands at the head of the queue in the end.
    async fn give_back(&mut self, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let count = deliveries.len();
        let mut lists: Vec<(Arc<Batch>, Vec<u32>)> = Vec::new();
        for delivery in deliveries {
            match lists
                .iter_mut()
                .find(|(batch, _)| Arc::ptr_eq(batch, &delivery.batch))
            {
                Some((_, positions)) => positions.push(delivery.id.position),
                None => lists.push((delivery.batch, vec![delivery.id.position])),
            }
        }
        lists.sort_by_key(|(batch, _)| std::cmp::Reverse(batch.order));
        for (batch, mut positions) in lists {
            positions.sort_unstable_by(|a, b| b.cmp(a));
            let last = batch.open.load(Ordering::Relaxed) == positions.len();
            let mut pipe = redis::pipe();
            pipe.cmd("EVAL")
                .arg(scripts::GIVE_BACK)
                .arg(4)
                .arg(&batch.list)
                .arg(&self.settings.keys.lists)
                .arg(&self.settings.keys.queue)
                .arg(&self.settings.keys.fence)
                .arg(u8::from(last))
                .arg(self.settings.keys.run())
                .arg(&positions)
                .ignore();
            self.send_until_done(&pipe).await;
        }
        tracing::info!(count, "gave back requests that had not started");
    }

    /// Leaves the queue to another store, or to the next start. Where Redis is
    /// away, the end does not wait for it: the ownership ends by itself.
    async fn leave(&mut self) {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL")
            .arg(scripts::LEAVE)
            .arg(2)
            .arg(&keys.owner)
            .arg(&keys.fence)
            .arg(&keys.store_id)
            .arg(keys.run())
            .ignore();
        let is_kept = self.connection.is_some();
        let left = match self.send::<()>(&pipe, 0).await {
            Err(error) if is_kept && needs_another(&error) => self.send(&pipe, 0).await,
            result => result,
        };
        if let Err(error) = left {
            tracing::debug!(%error, "the queue could not be left; the ownership ends by itself");
        }
    }

    async fn send_until_done(&mut self, pipe: &Pipeline) {
        let mut backoff = Backoff::new();
        loop {
            let kept = self.connection.is_some();
            match self.send::<()>(pipe, 0).await {
                Ok(()) => return,
                Err(error) if kept && needs_another(&error) => {}
                Err(error) => {
                    self.failed(&error);
                    backoff.wait().await;
                }
            }
        }
    }

    /// A connection that has not failed, and was made after all that did:
    /// another one that failed may mean that the way to Redis is gone, and
    /// finding that out here, too, would take a time-out more.
    pub(super) async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let failures = self.availability.failures();
        match &self.connection {
            Some(connection) if self.failures == failures => Ok(connection.clone()),
            _ => {
                self.failures = failures;
                self.connection = None;
                let connection = self.link.connect().await?;
                self.connection = Some(connection.clone());
                Ok(connection)
            }
        }
    }

    /// One round trip, of so many bytes besides the scripts'.
    async fn send<T: redis::FromRedisValue>(
        &mut self,
        pipe: &Pipeline,
        bytes: usize,
    ) -> RedisResult<T> {
        let mut connection = self.connect().await?;
        connection.set_response_timeout(ANSWER_TIMEOUT + sending_time(bytes));
        let result = pipe.query_async(&mut connection).await;
        // After an error nobody knows what is still on its way on it.
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    pub(super) fn failed(&self, error: &redis::RedisError) {
        self.availability
            .failed(SETTLING, &self.link.explain(error));
    }
}

/// Whether a new connection is all that is needed.
fn needs_another(error: &RedisError) -> bool {
    error.is_connection_dropped() || scripts::are_forgotten(error) || rights::are_missing(error)
}
