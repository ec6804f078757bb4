//! Staging: sends a long reply to Redis ahead of its acknowledgement, on a connection and a thread of
//! its own, into a list that the acknowledging script only renames. So a reply of some megabytes
//! does not delay all others.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisResult;

use super::{Disposition, Settings};
use crate::model::DeliveryId;
use crate::redis::{ANSWER_TIMEOUT, sending_time};

/// Bytes from which a reply is staged.
const LONG: usize = 256 << 10;
/// Time-out for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Stages the reply if it is long. After a failure the acknowledgement carries the reply itself.
pub(super) async fn stage_if_long(
    settings: &Arc<Settings>,
    id: &DeliveryId,
    disposition: &mut Disposition,
) {
    if let Disposition::Finished(finished) = disposition
        && let Some(reply) = &mut finished.reply
        && reply.bytes.len() >= LONG
    {
        let key = settings.keys.staged(id);
        let settings = Arc::clone(settings);
        let bytes = Arc::clone(&reply.bytes);
        let staged =
            tokio::task::spawn_blocking(move || stage(&settings, &key, &bytes).map(|()| key));
        match staged.await {
            Ok(Ok(key)) => reply.staged = Some(key),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot stage a long reply: its acknowledgement carries it")
            }
            Err(_) => {}
        }
    }
}

fn stage(settings: &Settings, key: &str, bytes: &[u8]) -> RedisResult<()> {
    let mut connection = settings
        .connector
        .connect_blocking(CONNECT_TIMEOUT, ANSWER_TIMEOUT + sending_time(bytes.len()))?;
    redis::pipe()
        .atomic()
        .del(key)
        .rpush(key, bytes)
        .expire(
            key,
            i64::try_from(settings.reply_ttl.as_secs()).unwrap_or(i64::MAX),
        )
        .exec(&mut connection)
}
