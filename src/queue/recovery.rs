//! What an earlier run, or an answer that never came, left in processing
//! lists.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::budget::Capacity;
use super::executor::{Batch, BatchExecutor, Messages};
use super::scripts::SETTLED;
use super::taking::MAX_BATCH_BYTES;
use super::{Keys, scripts};
use crate::model::DeliveryId;

/// The store's processing lists, run and number of each, in the order in
/// which they were taken.
pub(super) async fn lists(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> RedisResult<Vec<([u8; 16], u64)>> {
    let names: Vec<String> = redis::cmd("SMEMBERS")
        .arg(&keys.lists)
        .query_async(connection)
        .await?;
    let mut lists: Vec<_> = names
        .iter()
        .filter_map(|name| keys.parse_batch(name))
        .collect();
    lists.sort_unstable_by_key(|(boot, number)| (keys.order(boot), *boot, *number));
    Ok(lists)
}

/// The entries of a processing list, unread.
pub(super) struct Entries {
    batch: ([u8; 16], u64),
    /// How many there are, settled ones included.
    count: usize,
    /// The open ones and the lengths of their messages.
    pub(super) open: VecDeque<(DeliveryId, usize)>,
}

/// Looks at a processing list without reading it. A list without an open entry
/// is removed: all of it was settled, or Redis has forgotten it.
pub(super) async fn entries(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    (boot, batch): ([u8; 16], u64),
) -> RedisResult<Entries> {
    let list = keys.batch(boot, batch);
    let lengths: Vec<i64> = redis::cmd("EVAL")
        .arg(scripts::LENGTHS)
        .arg(1)
        .arg(&list)
        .query_async(connection)
        .await?;
    let count = lengths.len();
    let open: VecDeque<_> = lengths
        .into_iter()
        .zip(0..)
        .filter_map(|(length, position)| {
            let id = DeliveryId {
                boot,
                batch,
                position,
            };
            Some((id, usize::try_from(length).ok()?))
        })
        .collect();
    if open.is_empty() {
        // Not in MULTI, which a Redis short of memory refuses.
        redis::pipe()
            .del(&list)
            .srem(&keys.lists, &list)
            .exec_async(connection)
            .await?;
    }
    Ok(Entries {
        batch: (boot, batch),
        count,
        open,
    })
}

/// A processing list that is read in parts: all of its messages at once may be
/// more than there is room for.
pub(super) struct LeftList {
    batch: Arc<Batch>,
    unread: VecDeque<(DeliveryId, usize)>,
    /// Whether an earlier process may have worked on it.
    pub(super) redelivered: bool,
}

impl LeftList {
    /// `None` where no entry is open.
    pub(super) fn new(
        executor: &BatchExecutor,
        keys: &Keys,
        entries: Entries,
        redelivered: bool,
    ) -> Option<Self> {
        let (boot, number) = entries.batch;
        let open = entries.open.len();
        (open > 0).then(|| Self {
            batch: executor.batch(keys.batch(boot, number), entries.count, open),
            unread: entries.open,
            redelivered,
        })
    }

    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        self.unread.is_empty()
    }

    /// The next messages, as many as there is room for: at least one, because
    /// one that is longer than all the room would never be run otherwise.
    pub(super) async fn read(
        &mut self,
        connection: &mut MultiplexedConnection,
        room: Capacity,
    ) -> RedisResult<Messages> {
        let part = part(&self.unread, room);
        let positions = self.unread.iter().map(|(id, _)| id.position).take(part);
        let (first, last) = (positions.clone().min(), positions.max());
        let entries: Vec<Vec<u8>> = redis::cmd("LRANGE")
            .arg(&self.batch.list)
            .arg(first)
            .arg(last)
            .query_async(connection)
            .await?;
        let mut entries: HashMap<_, _> = (first.unwrap_or(0)..).zip(entries).collect();
        let open = self.unread.drain(..part).filter_map(|(id, _)| {
            let message = entries.remove(&id.position).and_then(message)?;
            Some((id, message))
        });
        Ok(Messages {
            open: open.collect(),
            batch: Arc::clone(&self.batch),
        })
    }
}

/// How many of the messages there is room for, and at least one.
fn part(unread: &VecDeque<(DeliveryId, usize)>, room: Capacity) -> usize {
    let most_bytes = room.bytes.min(MAX_BATCH_BYTES);
    let mut bytes = 0;
    let fitting = unread.iter().take(room.messages).take_while(|(_, length)| {
        bytes += length;
        bytes <= most_bytes
    });
    fitting.count().max(1).min(unread.len())
}

/// The message of one entry, if it is still open.
pub(super) async fn open_entry(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: DeliveryId,
) -> RedisResult<Option<Vec<u8>>> {
    let entry: Option<Vec<u8>> = redis::cmd("LINDEX")
        .arg(keys.batch(id.boot, id.batch))
        .arg(id.position)
        .query_async(connection)
        .await?;
    Ok(entry.and_then(message))
}

/// The message in an entry, unless it is settled.
fn message(entry: Vec<u8>) -> Option<Vec<u8>> {
    (entry != SETTLED).then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_large_as_there_is_room_and_never_empty() {
        let unread: VecDeque<_> = [10, 10, 10, 70]
            .into_iter()
            .zip(0..)
            .map(|(length, position)| {
                let id = DeliveryId {
                    boot: [7; 16],
                    batch: 3,
                    position,
                };
                (id, length)
            })
            .collect();
        let part = |messages, bytes| part(&unread, Capacity { messages, bytes });
        assert_eq!(part(2, 1000), 2);
        assert_eq!(part(10, 29), 2);
        assert_eq!(part(10, 30), 3);
        assert_eq!(part(10, 5), 1);
        assert_eq!(part(10, 1000), 4);
    }
}
