//! Settles messages: sends replies and dead letters, and gives back what was
//! not started.
//!
//! A settling step that got no answer is repeated as it was: the script
//! passes over what is settled already.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult};
use tokio::sync::mpsc;
use tracing::warn;

use crate::crash_point::crash_point;

use super::availability::{Availability, Backoff};
use super::connection::{ANSWER_TIMEOUT, Link};
use super::crew::{Batch, Delivery};
use super::dead_letter_log::DeadLetterLog;
use super::keys::DEAD_LETTER_CAP;
use super::{DeadLetter, Disposition, Finished, Handler, Settings, scripts};

/// What this part does, in the log.
const SETTLING: &str = "sending replies";
/// Most messages settled in one round trip.
const MAX_ROUND: usize = 128;
/// Most bytes of replies in one round trip, unless a single one is longer.
const MAX_ROUND_BYTES: usize = 1 << 20;
/// The slowest line on which a long reply still gets through: 800 kbit/s.
const SLOWEST_BYTES_PER_MS: usize = 100;

pub(super) struct Settler {
    settings: Arc<Settings>,
    availability: Arc<Availability>,
    handler: Arc<dyn Handler>,
    link: Link,
    connection: Option<MultiplexedConnection>,
    /// How many failures there had been when it was made.
    failures: u64,
    dead_letters: Arc<DeadLetterLog>,
    undelivered: Vec<DeadLetter>,
}

/// The finished entries of one processing list.
struct Group {
    batch: Arc<Batch>,
    entries: Vec<(Delivery, Finished)>,
    /// Whether they were sent before, with an error or without an answer.
    repeated: bool,
}

impl Settler {
    pub(super) fn new(
        settings: Arc<Settings>,
        availability: Arc<Availability>,
        handler: Arc<dyn Handler>,
        dead_letters: Arc<DeadLetterLog>,
    ) -> Self {
        Self {
            link: Link::new(settings.connector.clone(), Duration::ZERO),
            settings,
            availability,
            handler,
            connection: None,
            failures: 0,
            dead_letters,
            undelivered: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<(Delivery, Disposition)>) {
        let mut given_back = Vec::new();
        let mut round = Vec::with_capacity(MAX_ROUND);
        while inbox.recv_many(&mut round, MAX_ROUND).await > 0 {
            let mut finished = Vec::new();
            for (delivery, disposition) in round.drain(..) {
                match disposition {
                    Disposition::Finished(done) => finished.push((delivery, done)),
                    Disposition::GiveBack => given_back.push(delivery),
                    // Its list stays, because it is never fully settled.
                    Disposition::Keep => {}
                }
            }
            for round in in_rounds(finished) {
                self.settle(round).await;
            }
            self.keep_undelivered().await;
        }
        crash_point("in shutdown");
        self.give_back(given_back).await;
        self.leave().await;
    }

    /// Settles what takes one round trip, however long Redis is away.
    ///
    /// That Redis has closed a kept connection is noticed only when it is
    /// used: it may be back long since, and gets another try at once.
    async fn settle(&mut self, finished: Vec<(Delivery, Finished)>) {
        let mut groups = group_by_list(finished);
        let mut backoff = Backoff::new();
        while !groups.is_empty() {
            let pipe = self.settling(&groups);
            crash_point("before reply");
            let kept = self.connection.is_some();
            let answers: RedisResult<Vec<RedisResult<Vec<redis::Value>>>> = self.send(&pipe).await;
            crash_point("after reply");
            let mut at_once = false;
            match answers {
                Ok(answers) => {
                    let waiting = groups.drain(..).zip(answers);
                    groups = waiting
                        .filter_map(|(group, answer)| self.settled(group, answer))
                        .collect();
                }
                Err(error) if kept && error.is_connection_dropped() => at_once = true,
                Err(error) => self.failed(&error),
            }
            for group in &mut groups {
                group.repeated = true;
            }
            if groups.is_empty() {
                self.availability.works(SETTLING);
            } else if !at_once {
                backoff.wait().await;
            }
        }
    }

    fn settling(&self, groups: &[Group]) -> Pipeline {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.ignore_errors();
        for group in groups {
            let replies = group
                .entries
                .iter()
                .filter_map(|(_, finished)| finished.reply.as_ref());
            let command = pipe
                .cmd("EVAL")
                .arg(scripts::SETTLE)
                .arg(3 + replies.clone().count())
                .arg(&group.batch.list)
                .arg(&keys.lists)
                .arg(&keys.dead);
            for reply in replies {
                command.arg(keys.reply(&reply.id));
            }
            command
                .arg(self.settings.reply_ttl.as_secs())
                .arg(DEAD_LETTER_CAP)
                .arg(group.share());
            let mut next_key = 4;
            for (delivery, finished) in &group.entries {
                command.arg(delivery.id.position);
                match &finished.reply {
                    Some(reply) => {
                        command.arg(next_key).arg(&reply.bytes);
                        next_key += 1;
                    }
                    None => {
                        command.arg(0).arg("");
                    }
                }
                command.arg(finished.dead_letter.as_ref().map_or(&[][..], |d| &d.bytes));
            }
        }
        pipe
    }

    /// What of a group is still to be settled after an answer.
    fn settled(
        &mut self,
        mut group: Group,
        answer: RedisResult<Vec<redis::Value>>,
    ) -> Option<Group> {
        let refused = answer.and_then(|refused| parse_refused(&refused));
        let refused = match refused {
            Ok(refused) => refused,
            Err(error) => {
                self.failed(&error);
                // A Redis that has become a replica refuses for good.
                self.connection = None;
                return Some(group);
            }
        };
        let mut waiting = Vec::new();
        let mut done = Vec::new();
        for (delivery, finished) in group.entries.drain(..) {
            match refused.get(&delivery.id.position) {
                Some(error) if !error.contains("WRONGTYPE") => {
                    self.availability.failed(SETTLING, error);
                    waiting.push((delivery, finished));
                    continue;
                }
                Some(_) => self.undeliverable(&finished),
                None => {}
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

    /// Redis has something else under the name of the reply list.
    fn undeliverable(&mut self, finished: &Finished) {
        let reply = finished.reply.as_ref();
        if let Some(letter) = reply.and_then(|reply| self.handler.undeliverable(&reply.id)) {
            self.dead_letters.note(1, &letter.reason);
            self.undelivered.push(letter);
        }
    }

    /// Keeps dead letters of replies that were given up. Their requests are
    /// settled: one try is enough.
    async fn keep_undelivered(&mut self) {
        if self.undelivered.is_empty() {
            return;
        }
        let dead = self.settings.keys.dead.clone();
        let cap = isize::try_from(DEAD_LETTER_CAP).unwrap_or(isize::MAX);
        let mut pipe = redis::pipe();
        for letter in self.undelivered.drain(..) {
            pipe.rpush(&dead, letter.bytes).ignore();
        }
        pipe.ltrim(&dead, -cap, -1).ignore();
        if let Err(error) = self.send::<()>(&pipe).await {
            warn!(%error, "dead letters could not be kept");
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
                .arg(3)
                .arg(&batch.list)
                .arg(&self.settings.keys.lists)
                .arg(&self.settings.keys.queue)
                .arg(u8::from(last))
                .arg(&positions)
                .ignore();
            self.send_until_done(&pipe).await;
        }
        tracing::info!(count, "gave back requests that had not started");
    }

    /// Leaves the queue to another store, or to the next start.
    async fn leave(&mut self) {
        let keys = &self.settings.keys;
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL")
            .arg(scripts::LEAVE)
            .arg(3)
            .arg(&keys.queue)
            .arg(&keys.taking)
            .arg(&keys.owner)
            .arg(&keys.store_id)
            .ignore();
        self.send_until_done(&pipe).await;
    }

    async fn send_until_done(&mut self, pipe: &Pipeline) {
        let mut backoff = Backoff::new();
        loop {
            let kept = self.connection.is_some();
            match self.send::<()>(pipe).await {
                Ok(()) => return,
                Err(error) if kept && error.is_connection_dropped() => {}
                Err(error) => {
                    self.failed(&error);
                    backoff.wait().await;
                }
            }
        }
    }

    async fn send<T: redis::FromRedisValue>(&mut self, pipe: &Pipeline) -> RedisResult<T> {
        // Another connection that failed may mean that the way to Redis is
        // gone: finding that out here, too, would take a time-out more.
        let failures = self.availability.failures();
        let mut connection = match self.connection.take() {
            Some(connection) if self.failures == failures => connection,
            _ => {
                self.failures = failures;
                self.link.connect().await?
            }
        };
        let bytes = pipe.get_packed_pipeline().len();
        connection.set_response_timeout(ANSWER_TIMEOUT + sending_time(bytes));
        let result = pipe.query_async(&mut connection).await;
        // After an error nobody knows what is still on its way on the old one.
        if result.is_ok() {
            self.connection = Some(connection);
        }
        result
    }

    fn failed(&self, error: &redis::RedisError) {
        self.availability.failed(SETTLING, &error.to_string());
    }
}

impl Group {
    /// 2 for all entries of a list at once, 1 for its last open ones, else 0.
    /// A repetition looks at every entry: some may be settled already.
    fn share(&self) -> u8 {
        let count = self.entries.len();
        if count == self.batch.entries && !self.repeated {
            2
        } else {
            u8::from(count == self.batch.open.load(Ordering::Relaxed))
        }
    }
}

/// Splits what is finished into round trips: one that does not get through in
/// time is sent again whole.
fn in_rounds(finished: Vec<(Delivery, Finished)>) -> Vec<Vec<(Delivery, Finished)>> {
    let mut rounds = Vec::new();
    let mut round = Vec::new();
    let mut bytes = 0;
    for (delivery, done) in finished {
        let size = done.reply.as_ref().map_or(0, |reply| reply.bytes.len());
        if bytes + size > MAX_ROUND_BYTES && !round.is_empty() {
            rounds.push(std::mem::take(&mut round));
            bytes = 0;
        }
        bytes += size;
        round.push((delivery, done));
    }
    rounds.push(round);
    rounds
}

/// How long that many bytes may take on a slow line.
fn sending_time(bytes: usize) -> Duration {
    Duration::from_millis(u64::try_from(bytes / SLOWEST_BYTES_PER_MS).unwrap_or(u64::MAX))
}

fn group_by_list(finished: Vec<(Delivery, Finished)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut index: HashMap<*const Batch, usize> = HashMap::new();
    for (delivery, done) in finished {
        let at = *index
            .entry(Arc::as_ptr(&delivery.batch))
            .or_insert_with(|| {
                groups.push(Group {
                    batch: Arc::clone(&delivery.batch),
                    entries: Vec::new(),
                    repeated: false,
                });
                groups.len() - 1
            });
        groups[at].entries.push((delivery, done));
    }
    groups
}

/// Positions and errors of the replies that Redis refused.
fn parse_refused(answer: &[redis::Value]) -> RedisResult<HashMap<u32, String>> {
    answer
        .chunks_exact(2)
        .map(|pair| {
            Ok((
                redis::from_redis_value(pair[0].clone())?,
                redis::from_redis_value(pair[1].clone())?,
            ))
        })
        .collect()
}
