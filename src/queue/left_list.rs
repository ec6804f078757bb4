//! Processing lists that an earlier process left, or a fetch whose answer never came.
//!
//! A list is measured first, and then fetched in parts of as many messages and bytes as the budget
//! has capacity for: messages that ended the process together would end it again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::ack::ACKNOWLEDGED;
use super::budget::Capacity;
use super::delivery::{Batch, ProcessingList};
use super::executor::BatchExecutor;
use super::fetch::MAX_BATCH_BYTES;
use super::keys::BatchId;
use super::{Keys, scripts};
use crate::model::DeliveryId;

/// Returns the batches of all of the store's processing lists, in the order of their fetches.
pub(super) async fn batches(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> RedisResult<VecDeque<BatchId>> {
    let names: Vec<String> = redis::cmd("SMEMBERS")
        .arg(&keys.lists)
        .query_async(connection)
        .await?;
    let batches = names
        .iter()
        .filter_map(|name| keys.parse_processing_list(name));
    let mut batches: Vec<_> = batches.collect();
    batches.sort_unstable_by_key(|batch| (keys.order(&batch.run_id), batch.run_id, batch.number));
    Ok(batches.into())
}

/// Entries of a processing list whose messages were not fetched.
pub(super) struct Entries {
    batch: BatchId,
    /// Number of all entries, acknowledged ones included.
    count: usize,
    /// The open entries and the lengths of their messages.
    pub(super) open: VecDeque<(DeliveryId, usize)>,
}

/// Returns the entries of a processing list. A list without an open entry is deleted: all of it was
/// acknowledged, or Redis has lost it.
pub(super) async fn entries(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    batch: BatchId,
) -> RedisResult<Entries> {
    let list = keys.processing_list(batch);
    let lengths: Vec<i64> = scripts::eval(scripts::LENGTHS, &[&list])
        .query_async(connection)
        .await?;
    let count = lengths.len();
    let open = lengths.into_iter().zip(0..);
    let open: VecDeque<_> = open
        .filter_map(|(length, position)| {
            Some((batch.delivery(position), usize::try_from(length).ok()?))
        })
        .collect();
    if open.is_empty() {
        // Not in MULTI, which a Redis that is short of memory refuses.
        redis::pipe()
            .del(&list)
            .srem(&keys.lists, &list)
            .exec_async(connection)
            .await?;
    }
    Ok(Entries { batch, count, open })
}

/// A processing list that is fetched in parts: all of its messages together may exceed the capacity,
/// or be what ended the process.
pub(super) struct LeftList {
    list: Arc<ProcessingList>,
    unfetched: VecDeque<(DeliveryId, usize)>,
    /// Whether an earlier process may have run its messages.
    pub(super) redelivered: bool,
}

impl LeftList {
    /// Returns `None` where no entry is open.
    pub(super) fn new(
        executor: &BatchExecutor,
        keys: &Keys,
        entries: Entries,
        redelivered: bool,
    ) -> Option<Self> {
        let open = entries.open.len();
        let name = keys.processing_list(entries.batch);
        (open > 0).then(|| Self {
            list: executor.list(name, entries.count, open),
            unfetched: entries.open,
            redelivered,
        })
    }

    /// Returns whether all of it was fetched.
    pub(super) fn is_finished(&self) -> bool {
        self.unfetched.is_empty()
    }

    /// Fetches as many messages as the capacity allows, and at least one: a message that exceeds the
    /// whole capacity would never run otherwise.
    pub(super) async fn fetch(
        &mut self,
        connection: &mut MultiplexedConnection,
        executor: &BatchExecutor,
        capacity: Capacity,
    ) -> RedisResult<Batch> {
        let count = count_within(&self.unfetched, capacity);
        let positions = self.unfetched.iter().map(|(id, _)| id.position).take(count);
        let (first, last) = (positions.clone().min(), positions.max());
        let entries: Vec<Vec<u8>> = redis::cmd("LRANGE")
            .arg(&self.list.name)
            .arg(first)
            .arg(last)
            .query_async(connection)
            .await?;
        let mut entries: HashMap<_, _> = (first.unwrap_or(0)..).zip(entries).collect();
        let open = self.unfetched.drain(..count).filter_map(|(id, _)| {
            let message = entries.remove(&id.position).and_then(open_message)?;
            Some((id, message))
        });
        Ok(executor.batch(&self.list, open, self.redelivered))
    }
}

/// Returns the number of messages that the capacity allows, at least one.
fn count_within(unfetched: &VecDeque<(DeliveryId, usize)>, capacity: Capacity) -> usize {
    let max_bytes = capacity.bytes.min(MAX_BATCH_BYTES);
    let mut bytes = 0;
    let fitting = unfetched.iter().take(capacity.messages);
    let fitting = fitting.take_while(|(_, length)| {
        bytes += length;
        bytes <= max_bytes
    });
    fitting.count().max(1).min(unfetched.len())
}

/// Fetches the message of one entry, if the entry is open.
pub(super) async fn fetch_one(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: DeliveryId,
) -> RedisResult<Option<Vec<u8>>> {
    let entry: Option<Vec<u8>> = redis::cmd("LINDEX")
        .arg(keys.processing_list(BatchId::of(&id)))
        .arg(id.position)
        .query_async(connection)
        .await?;
    Ok(entry.and_then(open_message))
}

/// Returns the message of an entry that is not acknowledged.
fn open_message(entry: Vec<u8>) -> Option<Vec<u8>> {
    (entry != ACKNOWLEDGED).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_large_as_the_capacity_and_never_empty() {
        let batch = BatchId {
            run_id: [7; 16],
            number: 3,
        };
        let lengths = [10, 10, 10, 70].into_iter().zip(0..);
        let unfetched = lengths.map(|(length, position)| (batch.delivery(position), length));
        let unfetched: VecDeque<_> = unfetched.collect();
        let count = |messages, bytes| count_within(&unfetched, Capacity { messages, bytes });
        assert_eq!(count(2, 1000), 2);
        assert_eq!(count(10, 29), 2);
        assert_eq!(count(10, 30), 3);
        assert_eq!(count(10, 5), 1);
        assert_eq!(count(10, 1000), 4);
    }
}
