//! The rights of the daemon's user in Redis. A missing right is found on a new
//! connection, before a script can fail halfway for want of it, and is named.

use std::io;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};

use super::{Keys, scripts};

/// How an error begins that names a missing right.
const LACKS: &str = "the daemon's user in Redis lacks the right";

/// Checks the rights to every command that the scripts run and to every key
/// below the queue's name.
pub(super) async fn check(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<()> {
    let missing: RedisResult<Vec<String>> = redis::cmd("EVAL")
        .arg(scripts::PROBE)
        .arg(6)
        .arg(keys.probe())
        .arg(&keys.queue)
        .arg(&keys.lists)
        .arg(&keys.dead)
        .arg(&keys.owner)
        .arg(&keys.fence)
        .query_async(connection)
        .await;
    match missing {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(error(&missing.join(" "))),
        Err(failure) if is_about_keys(&failure) => {
            let queue = &keys.queue;
            Err(error(&format!("~{queue} ~{queue}:*")))
        }
        Err(failure) => Err(failure),
    }
}

/// Whether the reply list of an id could be written: Redis judges the keys of a
/// script before it runs it.
pub(super) async fn cover_reply_list(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: &str,
) -> RedisResult<bool> {
    let answer: RedisResult<()> = redis::cmd("EVAL")
        .arg("return 0")
        .arg(1)
        .arg(keys.reply(id))
        .query_async(connection)
        .await;
    match answer {
        Err(failure) if is_about_keys(&failure) => Ok(false),
        answer => answer.map(|()| true),
    }
}

/// What to say where a right is missing.
pub(super) fn describe(right: &str) -> String {
    format!("{LACKS} {right} (grant it with ACL SETUSER). Requests and replies wait for it")
}

fn error(right: &str) -> RedisError {
    io::Error::new(io::ErrorKind::PermissionDenied, describe(right)).into()
}

/// Whether an error names a missing right: Redis is there.
pub(super) fn is_named(error: &RedisError) -> bool {
    error.to_string().starts_with(LACKS)
}

/// Whether Redis refuses a key, not a command.
pub(super) fn is_about_keys(error: &RedisError) -> bool {
    let text = error.to_string();
    error.code() == Some("NOPERM") && text.contains("key") && !text.contains("' command")
}

/// Whether Redis refuses a command or a key: a new connection tells which.
pub(super) fn are_missing(error: &RedisError) -> bool {
    // What a script says of it in Redis 7.0 and before.
    error.code() == Some("NOPERM")
        || error
            .to_string()
            .contains("user executing the script can't")
}
