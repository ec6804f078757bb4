//! Permissions of the daemon's user in Redis.
//!
//! A script that is refused a command halfway may have moved or pushed a message without recording
//! it. So each new connection first runs a probe, which tries every such command on a key of its
//! own. If a permission is missing, the connection is not used, and the error names the permission.

use std::io;

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};

use super::{Keys, scripts};

/// Beginning of an error that names a missing permission.
const LACKS: &str = "the daemon's user in Redis lacks the right";

/// Checks the permissions for every command that the scripts run and for every key that begins with
/// the queue's name.
pub(super) async fn check(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<()> {
    let probe = keys.probe();
    let queue = &keys.queue;
    let probed = [
        &*probe,
        queue,
        &keys.lists,
        &keys.dead,
        &keys.owner,
        &keys.fence,
    ];
    let missing: RedisResult<Vec<String>> = scripts::eval(scripts::PROBE, &probed)
        .query_async(connection)
        .await;
    match missing {
        Ok(missing) if missing.is_empty() => Ok(()),
        Ok(missing) => Err(error(&missing.join(" "))),
        Err(failure) if is_about_keys(&failure) => Err(error(&format!("~{queue} ~{queue}:*"))),
        Err(failure) => Err(failure),
    }
}

/// Returns whether the reply list of an id could be written: Redis checks the keys of a script before
/// it runs the script.
pub(super) async fn cover_reply_list(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    id: &str,
) -> RedisResult<bool> {
    let command = scripts::eval("return 0", &[&keys.reply(id)]);
    match command.exec_async(connection).await {
        Err(failure) if is_about_keys(&failure) => Ok(false),
        answer => answer.map(|()| true),
    }
}

/// Describes a missing permission.
pub(super) fn describe(right: &str) -> String {
    format!("{LACKS} {right} (grant it with ACL SETUSER). Requests and replies wait for it")
}

fn error(right: &str) -> RedisError {
    io::Error::new(io::ErrorKind::PermissionDenied, describe(right)).into()
}

/// Returns whether an error names a missing permission, so that Redis is available.
pub(super) fn is_named(error: &RedisError) -> bool {
    error.to_string().starts_with(LACKS)
}

/// Returns whether Redis refuses a key, not a command.
pub(super) fn is_about_keys(error: &RedisError) -> bool {
    let text = error.to_string();
    error.code() == Some("NOPERM") && text.contains("key") && !text.contains("' command")
}

/// Returns whether Redis refuses a command or a key. The check on a new connection names it.
pub(super) fn are_missing(error: &RedisError) -> bool {
    // The text of a script's error up to Redis 7.0.
    error.code() == Some("NOPERM")
        || error
            .to_string()
            .contains("user executing the script can't")
}
