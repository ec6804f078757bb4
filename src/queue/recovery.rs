//! What an earlier run, or an answer that never came, left in processing
//! lists.

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use super::Keys;

/// Names of the store's processing lists, those of one run in the order in
/// which they were taken.
pub(super) async fn lists(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> RedisResult<Vec<String>> {
    let mut lists: Vec<String> = redis::cmd("SMEMBERS")
        .arg(&keys.lists)
        .query_async(connection)
        .await?;
    lists.sort_by_cached_key(|list| {
        let (run, number) = list.rsplit_once(':').unwrap_or((list, ""));
        (run.to_owned(), number.parse::<u64>().unwrap_or(0))
    });
    Ok(lists)
}

/// The open entries of a processing list. A list without any is removed: all
/// of it was settled, or Redis has forgotten it.
pub(super) async fn open_entries(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    list: &str,
) -> RedisResult<Vec<(usize, Vec<u8>)>> {
    let entries: Vec<Vec<u8>> = redis::cmd("LRANGE")
        .arg(list)
        .arg(0)
        .arg(-1)
        .query_async(connection)
        .await?;
    let open: Vec<_> = entries
        .into_iter()
        .enumerate()
        .filter_map(|(position, entry)| Some((position, message(&entry)?)))
        .collect();
    if open.is_empty() {
        redis::pipe()
            .atomic()
            .del(list)
            .srem(&keys.lists, list)
            .exec_async(connection)
            .await?;
    }
    Ok(open)
}

/// The message in an entry `<position>:<message>`; a settled entry is empty.
fn message(entry: &[u8]) -> Option<Vec<u8>> {
    let colon = entry.iter().position(|byte| *byte == b':')?;
    Some(entry[colon + 1..].to_vec())
}
