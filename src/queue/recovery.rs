//! What an earlier run, or an answer that never came, left in processing
//! lists.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::Keys;
use super::crew::Messages;
use super::scripts::SETTLED;
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

/// The open entries of a processing list. A list without any is removed: all
/// of it was settled, or Redis has forgotten it.
pub(super) async fn open_entries(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    (boot, batch): ([u8; 16], u64),
) -> RedisResult<Messages> {
    let list = keys.batch(boot, batch);
    let entries: Vec<Vec<u8>> = redis::cmd("LRANGE")
        .arg(&list)
        .arg(0)
        .arg(-1)
        .query_async(connection)
        .await?;
    let count = entries.len();
    let open: Vec<_> = entries
        .into_iter()
        .zip(0..)
        .filter_map(|(entry, position)| {
            let id = DeliveryId {
                boot,
                batch,
                position,
            };
            Some((id, message(entry)?))
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
    Ok(Messages {
        list,
        entries: count,
        open,
    })
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
