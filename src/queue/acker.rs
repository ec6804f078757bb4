//! Acknowledges completed deliveries: sends replies and dead letters, and requeues what was not
//! started.
//!
//! An acknowledgement that got no answer is repeated as it was: the script skips the entries that
//! are acknowledged already.
//!
//! After a failure, entries are acknowledged one by one, so that one that Redis never accepts does
//! not hold up the others. A reply that Redis never accepts becomes a dead letter: its list is a
//! key of another type, which is not the daemon's, or it is longer than Redis allows.

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

use super::ack::{AckGroup, Refusal, group_by_list, in_rounds, parse_refused};
use super::availability::Availability;
use super::dead_letter_warnings::DeadLetterWarnings;
use super::delivery::{Delivery, ProcessingList};
use super::executor::Completed;
use super::link::Link;
use super::{Disposition, Handler, Settings, permissions, scripts};

/// What this part does, in the log.
pub(super) const REPLYING: &str = "sending replies";
/// Interval between retries of replies that Redis refused.
const RETRY: Duration = Duration::from_millis(500);
/// Maximum number of messages of the executor that are acknowledged in one round trip.
const MAX_ROUND: usize = 128;

pub(super) struct Acker {
    pub(super) settings: Arc<Settings>,
    pub(super) availability: Arc<Availability>,
    handler: Arc<dyn Handler>,
    link: Link,
    connection: Option<MultiplexedConnection>,
    /// Number of failures of any connection when it was made.
    failures: u64,
    dead_letters: Arc<DeadLetterWarnings>,
    /// Entries whose reply list Redis refused.
    pub(super) refused: Vec<AckGroup>,
    /// Whether any reply was delivered since the last refusal.
    pub(super) delivered: bool,
    /// Id of the last reply that was delivered: its list could be written.
    pub(super) last_delivered: Option<String>,
    /// When the log last said that all reply lists are refused.
    pub(super) warned: Option<Instant>,
}

impl Acker {
    pub(super) fn new(
        settings: Arc<Settings>,
        availability: Arc<Availability>,
        handler: Arc<dyn Handler>,
        dead_letters: Arc<DeadLetterWarnings>,
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
            warned: None,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Vec<Completed>>) {
        let mut requeued = Vec::new();
        let mut round = Vec::with_capacity(MAX_ROUND);
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = inbox.recv_many(&mut round, MAX_ROUND) => if received == 0 { break },
                _ = retry.tick(), if !self.refused.is_empty() => self.retry_refused().await,
            }
            let mut completed = Vec::new();
            for (delivery, disposition) in round.drain(..).flatten() {
                match disposition {
                    Disposition::Finished(finished) => completed.push((delivery, finished)),
                    Disposition::Requeue => requeued.push(delivery),
                    // Its list stays, because it is never fully acknowledged.
                    Disposition::Unresolved => {}
                }
            }
            for round in in_rounds(completed) {
                self.acknowledge(group_by_list(round)).await;
            }
            if self.delivered && !self.refused.is_empty() {
                self.retry_refused().await;
            }
        }
        crash_point("in shutdown");
        self.leave_refused().await;
        self.requeue(requeued).await;
        self.release().await;
    }

    /// Acknowledges groups in one round trip, however long Redis is unavailable. After a failure
    /// each entry goes on its own, so that one that Redis never accepts does not hold up the others.
    pub(super) async fn acknowledge(&mut self, mut groups: Vec<AckGroup>) {
        let mut backoff = Backoff::default();
        while !groups.is_empty() {
            let was_kept = self.connection.is_some();
            let first = groups.iter().all(|group| group.tries == 0);
            let failed = if first {
                self.try_to_acknowledge(&mut groups).await
            } else {
                self.try_singly(&mut groups).await
            };
            match failed {
                _ if groups.is_empty() => self.availability.works(REPLYING),
                // A kept connection that Redis has closed, or that is of a Redis that has
                // restarted, fails only when it is used. Redis may be back long since.
                Some(error) if first && was_kept && needs_another(&error) => {}
                // Which of the reply lists Redis refuses, the next try shows.
                Some(error) if permissions::is_about_keys(&error) => {}
                failed => {
                    if let Some(error) = failed {
                        self.failed(&error);
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn try_singly(&mut self, groups: &mut Vec<AckGroup>) -> Option<RedisError> {
        let mut failure = None;
        for mut single in std::mem::take(groups)
            .into_iter()
            .flat_map(AckGroup::singly)
        {
            // After a connection that could not be made, the others are not tried.
            if failure.is_none() {
                let mut alone = vec![single];
                failure = self.try_to_acknowledge(&mut alone).await;
                let Some(left) = alone.pop() else { continue };
                single = left;
                if failure.as_ref().is_some_and(permissions::is_about_keys) {
                    // A refused list says nothing against the reply itself.
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
                    .is_some_and(|error| single.is_undeliverable(error))
                {
                    self.give_up(&mut single);
                    failure = None;
                }
            }
            groups.push(single);
        }
        failure
    }

    /// Tries it once. Leaves in `groups` what is not acknowledged.
    pub(super) async fn try_to_acknowledge(
        &mut self,
        groups: &mut Vec<AckGroup>,
    ) -> Option<RedisError> {
        if let Err(error) = self.connect().await {
            return Some(error);
        }
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        let undeliverable = self.handler.undeliverable_prefix();
        for group in &mut *groups {
            group.add_to(
                &mut pipe,
                self.link.scripts.ack(),
                &self.settings,
                &undeliverable,
            );
            group.tries += 1;
        }
        crash_point("before reply");
        let bytes = groups.iter().map(AckGroup::bytes).sum();
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
                Ok(refused) => groups.extend(self.acknowledged(group, &refused)),
                Err(error) => {
                    // Without the script nothing was tried.
                    group.tries -= u32::from(scripts::are_missing(&error));
                    groups.push(group);
                    // A Redis that has become a replica refuses every write.
                    if !permissions::is_about_keys(&error) {
                        self.connection = None;
                    }
                    failure = Some(error);
                }
            }
        }
        failure
    }

    /// Processes the answer for a group. Returns the entries that are not acknowledged yet.
    fn acknowledged(
        &mut self,
        mut group: AckGroup,
        refused: &HashMap<usize, Refusal>,
    ) -> Option<AckGroup> {
        let mut waiting = Vec::new();
        let mut forgettable = Vec::new();
        for ((delivery, mut finished), number) in group.entries.drain(..).zip(1..) {
            match refused.get(&number) {
                Some(refusal) if refusal.is_open => {
                    self.availability.failed(REPLYING, &refusal.error);
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
            group.list.open.fetch_sub(1, Ordering::Relaxed);
            if finished.left_outcome {
                forgettable.push(delivery.id);
            }
        }
        if !forgettable.is_empty() {
            self.handler.acknowledged(forgettable);
        }
        group.entries = waiting;
        (!group.entries.is_empty()).then_some(group)
    }

    /// Replaces a reply that Redis never accepts by a dead letter.
    pub(super) fn give_up(&self, single: &mut AckGroup) {
        for (_, finished) in &mut single.entries {
            if let Some(reply) = finished.reply.take() {
                finished.dead_letter = self.handler.undeliverable(&reply.id);
            }
        }
    }

    /// Requeues deliveries that were not started, the last one first, so that the queue keeps its
    /// order.
    async fn requeue(&mut self, deliveries: Vec<Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let count = deliveries.len();
        let mut lists: Vec<(Arc<ProcessingList>, Vec<u32>)> = Vec::new();
        for delivery in deliveries {
            match lists
                .iter_mut()
                .find(|(list, _)| Arc::ptr_eq(list, &delivery.list))
            {
                Some((_, positions)) => positions.push(delivery.id.position),
                None => lists.push((delivery.list, vec![delivery.id.position])),
            }
        }
        lists.sort_by_key(|(list, _)| std::cmp::Reverse(list.order));
        for (list, mut positions) in lists {
            positions.sort_unstable_by(|a, b| b.cmp(a));
            let last = list.open.load(Ordering::Relaxed) == positions.len();
            let mut pipe = redis::pipe();
            pipe.cmd("EVAL")
                .arg(scripts::REQUEUE)
                .arg(4)
                .arg(&list.name)
                .arg(&self.settings.keys.lists)
                .arg(&self.settings.keys.queue)
                .arg(&self.settings.keys.fence)
                .arg(u8::from(last))
                .arg(self.settings.keys.fencing_token())
                .arg(&positions)
                .ignore();
            self.send_until_done(&pipe).await;
        }
        tracing::info!(count, "requeued requests that had not started");
    }

    /// Releases the queue for another store or the next start. The end does not wait for a Redis
    /// that is unavailable: the ownership expires.
    async fn release(&mut self) {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL")
            .arg(scripts::RELEASE)
            .arg(2)
            .arg(&keys.owner)
            .arg(&keys.fence)
            .arg(&keys.store_id)
            .arg(keys.fencing_token())
            .ignore();
        let is_kept = self.connection.is_some();
        let released = match self.send::<()>(&pipe, 0).await {
            Err(error) if is_kept && needs_another(&error) => self.send(&pipe, 0).await,
            result => result,
        };
        if let Err(error) = released {
            tracing::debug!(%error, "cannot release the queue; its ownership expires");
        }
    }

    async fn send_until_done(&mut self, pipe: &Pipeline) {
        let mut backoff = Backoff::default();
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

    /// Returns a connection that has not failed and is newer than the last failure of any other
    /// connection. Such a failure may mean that the network path is gone, and to find that out here
    /// as well would take one more time-out.
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

    /// Sends a pipeline that carries this many bytes of replies.
    async fn send<T: redis::FromRedisValue>(
        &mut self,
        pipe: &Pipeline,
        bytes: usize,
    ) -> RedisResult<T> {
        let mut connection = self.connect().await?;
        connection.set_response_timeout(ANSWER_TIMEOUT + sending_time(bytes));
        let result = pipe.query_async(&mut connection).await;
        // After an error, commands may still be on their way on this connection.
        if result.is_err() {
            self.connection = None;
        }
        result
    }

    pub(super) fn failed(&self, error: &redis::RedisError) {
        self.availability
            .failed(REPLYING, &self.link.explain(error));
    }
}

/// Returns whether a new connection suffices.
fn needs_another(error: &RedisError) -> bool {
    error.is_connection_dropped() || scripts::are_missing(error) || permissions::are_missing(error)
}
