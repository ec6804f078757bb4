//! Acknowledges completed deliveries: sends replies and dead letters, and requeues what was not
//! started.
//!
//! An acknowledgement that got no answer is repeated as it was: the script skips the entries that
//! are acknowledged already.
//!
//! After a failure, entries are acknowledged one by one, so that one that Redis never accepts does
//! not hold up the others. A reply that Redis never accepts becomes a dead letter: its list is a
//! key of another type, which is not the daemon's, or it is longer than Redis allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, RedisResult};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::crash_point::crash_point;
use crate::redis::{ANSWER_TIMEOUT, Backoff, sending_time};

use super::ack::{AckGroup, Refusal, group_by_list, in_rounds};
use super::delivery::{Delivery, ProcessingList};
use super::executor::Completed;
use super::link::Link;
use super::reports::Reports;
use super::{Disposition, Handler, Settings, permissions, scripts};

/// What this part does, in the log.
pub(super) const REPLYING: &str = "sending replies";
/// Interval between retries of replies that Redis refused.
const RETRY: Duration = Duration::from_millis(500);
/// Maximum number of messages of the executor that are acknowledged in one round trip.
const MAX_ROUND: usize = 128;

pub(super) struct Acker {
    pub(super) settings: Arc<Settings>,
    pub(super) reports: Arc<Reports>,
    handler: Arc<dyn Handler>,
    link: Link,
    connection: Option<MultiplexedConnection>,
    /// Number of failures of any connection when it was made.
    failures: u64,
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
        reports: Arc<Reports>,
        handler: Arc<dyn Handler>,
    ) -> Self {
        Self {
            link: Link::new(Arc::clone(&settings), Duration::ZERO),
            settings,
            reports,
            handler,
            connection: None,
            failures: 0,
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
            let result = if first {
                self.try_to_acknowledge(&mut groups).await
            } else {
                self.try_singly(&mut groups).await
            };
            match result {
                _ if groups.is_empty() => self.reports.works(REPLYING),
                // A kept connection that Redis has closed, or that is of a Redis that has
                // restarted, fails only when it is used. Redis may be back long since.
                Err(error) if first && was_kept && needs_another(&error) => {}
                // Which of the reply lists Redis refuses, the next try shows.
                Err(error) if permissions::is_about_keys(&error) => {}
                result => {
                    if let Err(error) = result {
                        self.failed(&error);
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn try_singly(&mut self, groups: &mut Vec<AckGroup>) -> RedisResult<()> {
        let mut result = Ok(());
        let all = std::mem::take(groups);
        for mut single in all.into_iter().flat_map(AckGroup::singly) {
            // After a connection that could not be made, the others are not tried.
            if result.is_ok() {
                let mut alone = vec![single];
                result = self.try_to_acknowledge(&mut alone).await;
                let Some(left) = alone.pop() else { continue };
                single = left;
                if result.as_ref().is_err_and(permissions::is_about_keys) {
                    // A refused list says nothing against the reply itself.
                    single.tries = 1;
                    for (delivery, _) in &mut single.entries {
                        delivery.park();
                    }
                    self.delivered = false;
                    self.refused.push(single);
                    result = Ok(());
                    continue;
                }
                let never = |error: &RedisError| single.is_undeliverable(error);
                if result.as_ref().is_err_and(never) {
                    self.give_up(&mut single);
                    result = Ok(());
                }
            }
            groups.push(single);
        }
        result
    }

    /// Tries it once. Leaves in `groups` what is not acknowledged.
    pub(super) async fn try_to_acknowledge(
        &mut self,
        groups: &mut Vec<AckGroup>,
    ) -> RedisResult<()> {
        self.connect().await?;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        let undeliverable = self.handler.undeliverable_prefix();
        for group in &mut *groups {
            group.add_to(&mut pipe, &self.settings, &undeliverable);
            group.tries += 1;
        }
        crash_point("before reply");
        let bytes = groups.iter().map(AckGroup::bytes).sum();
        let answers: RedisResult<Vec<RedisResult<Vec<Refusal>>>> = self.send(&pipe, bytes).await;
        crash_point("after reply");
        // After an error, or an answer that cannot be decoded, all groups stay in `groups`.
        let answers = answers?;
        let mut result = Ok(());
        for (mut group, answer) in std::mem::take(groups).into_iter().zip(answers) {
            match answer {
                Ok(refused) => groups.extend(self.acknowledged(group, &refused)),
                Err(error) => {
                    // Without the script nothing was tried.
                    group.tries -= u32::from(scripts::are_missing(&error));
                    groups.push(group);
                    // A Redis that has become a replica refuses every write.
                    if !permissions::is_about_keys(&error) {
                        self.connection = None;
                    }
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Processes the answer for a group. Returns the entries that are not acknowledged yet.
    fn acknowledged(&mut self, mut group: AckGroup, refused: &[Refusal]) -> Option<AckGroup> {
        let mut waiting = Vec::new();
        let mut forgettable = Vec::new();
        for ((delivery, mut finished), number) in group.entries.drain(..).zip(1..) {
            match refused.iter().find(|(entry, ..)| *entry == number) {
                Some((_, error, true)) => {
                    self.reports.failed(REPLYING, error);
                    waiting.push((delivery, finished));
                    continue;
                }
                Some((_, error, false)) => self.reports.dead_letters(1, error),
                None => {
                    if let Some(reply) = finished.reply.take() {
                        self.delivered = true;
                        self.last_delivered = Some(reply.id);
                    }
                }
            }
            if let Some(dead_letter) = &finished.dead_letter {
                self.reports.dead_letters(1, &dead_letter.reason);
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
        let mut lists: BTreeMap<u64, (Arc<ProcessingList>, Vec<u32>)> = BTreeMap::new();
        for delivery in deliveries {
            let list = lists.entry(delivery.list.order);
            let (_, positions) = list.or_insert((delivery.list, Vec::new()));
            positions.push(delivery.id.position);
        }
        for (list, mut positions) in lists.into_values().rev() {
            positions.sort_unstable_by(|a, b| b.cmp(a));
            let last = list.open.load(Ordering::Relaxed) == positions.len();
            let keys = &self.settings.keys;
            let touched = [&*list.name, &keys.lists, &keys.queue, &keys.fence];
            let mut command = scripts::eval(scripts::REQUEUE, &touched);
            command
                .arg(u8::from(last))
                .arg(keys.fencing_token())
                .arg(&positions);
            let mut backoff = Backoff::default();
            while let Err(error) = self.send_command(&command).await {
                self.failed(&error);
                backoff.wait().await;
            }
        }
        tracing::info!(count, "requeued requests that had not started");
    }

    /// Releases the queue for another store or the next start. The end does not wait for a Redis
    /// that is unavailable: the ownership expires.
    async fn release(&mut self) {
        let keys = &self.settings.keys;
        let mut command = scripts::eval(scripts::RELEASE, &[&keys.owner, &keys.fence]);
        command.arg(&keys.store_id).arg(keys.fencing_token());
        if let Err(error) = self.send_command(&command).await {
            tracing::debug!(%error, "cannot release the queue; its ownership expires");
        }
    }

    /// Sends a command. Sends it again if a kept connection fails with an error that a new connection
    /// solves.
    async fn send_command(&mut self, command: &Cmd) -> RedisResult<()> {
        let mut pipe = redis::pipe();
        pipe.add_command(command.clone());
        let is_kept = self.connection.is_some();
        match self.send(&pipe, 0).await {
            Err(error) if is_kept && needs_another(&error) => self.send(&pipe, 0).await,
            result => result,
        }
    }

    /// Returns a connection that has not failed and is newer than the last failure of any other
    /// connection. Such a failure may mean that the network path is gone, and to find that out here
    /// as well would take one more time-out.
    pub(super) async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let failures = self.reports.failures();
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
        self.reports.failed(REPLYING, &self.link.explain(error));
    }
}

/// Returns whether a new connection suffices.
fn needs_another(error: &RedisError) -> bool {
    error.is_connection_dropped() || scripts::are_missing(error) || permissions::are_missing(error)
}
