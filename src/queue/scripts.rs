//! Lua scripts: every step in Redis that must happen as a whole.
//!
//! The two scripts of the hot path, [`FETCH`] and [`ACK`], are called by their hash, because Redis
//! hashes the text of an `EVAL` each time. Each new connection loads them, so that a Redis that has
//! lost them costs one new connection and needs no other code. The other scripts are sent whole.
//!
//! Each script begins with the same two lines:
//!
//! - The *fence*: a process that starts writes its fencing token, the id of its run, to a key. A
//!   script with another token does nothing. A command of a dead process can arrive long after its
//!   death: TCP retransmits it for minutes.
//! - A write that changes nothing. A Redis that is short of memory refuses only the first write of
//!   a script, and never a write that cannot grow. So the writes behind it pass, and
//!   acknowledgements, which free memory, go on.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError, RedisResult, Script};

use super::ack::ACK;
use super::fetch::FETCH;

/// [`FETCH`] with its hash.
pub(super) static FETCH_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(FETCH));
/// [`ACK`] with its hash.
pub(super) static ACK_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(ACK));

/// Loads the scripts that are called by their hash.
pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    for script in [FETCH, ACK] {
        pipe.cmd("SCRIPT").arg("LOAD").arg(script);
    }
    pipe.exec_async(connection).await
}

/// Returns the command that sends a whole script and calls it with these keys.
pub(super) fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

/// Returns whether Redis has lost the scripts: a new connection helps.
pub(super) fn are_missing(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Sets the fence of a run.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | fencing token |
pub(super) const FENCE: &str = r"
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return redis.status_reply('OK')
";

/// Tries every command that the scripts run after a step that they cannot undo, on a key of its own,
/// and returns the missing permissions. A script that may not run one of its commands would lose a
/// message, run it twice or send its reply twice.
///
/// | KEYS | |
/// |---|---|
/// | 1 | a key that nothing else uses |
/// | 2… | keys whose permissions Redis checks before it runs the script |
///
/// The first command is a write that cannot grow: a Redis that is short of memory would refuse any
/// other.
pub(super) const PROBE: &str = r#"
local key = KEYS[1]
local function is_refused(...)
  local answer = redis.pcall(...)
  local error = type(answer) == 'table' and answer.err or ''
  return string.find(error, 'NOPERM', 1, true) or string.find(error, "executing the script can't", 1, true)
end
if is_refused('DEL', key) then return {'+del'} end
local missing = {}
for _, command in ipairs({
  {'RPUSH', key, ''}, {'LPUSH', key, ''}, {'LLEN', key}, {'LINDEX', key, 0}, {'LSET', key, 0, ''},
  {'LTRIM', key, 0, -1}, {'LMOVE', key, key, 'LEFT', 'RIGHT'}, {'RENAME', key, key}, {'PERSIST', key},
  {'EXPIRE', key, 60}, {'SORT', key, 'BY', 'nosort', 'LIMIT', 0, 1, 'STORE', key}, {'LPOP', key},
  {'EXISTS', key}, {'GET', key}, {'SADD', key, ''}, {'SREM', key, ''}, {'SET', key, ''},
}) do
  if is_refused(unpack(command)) then missing[#missing + 1] = '+' .. string.lower(command[1]) end
end
redis.call('DEL', key)
return missing
"#;

/// Returns the lengths of the entries of a processing list, -1 for an acknowledged one. It changes
/// nothing, so that it needs no fence.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the processing list |
pub(super) const LENGTHS: &str = r"
local lengths = {}
for i = 1, redis.call('LLEN', KEYS[1]) do
  local entry = redis.call('LINDEX', KEYS[1], i - 1)
  lengths[i] = entry == '\0settled' and -1 or #entry
end
return lengths
";

/// Requeues entries that were not started, at the head of the queue.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the processing list |
/// | 2 | set of processing lists |
/// | 3 | the queue |
/// | 4 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | 1 if these are the last open entries of the list, else 0 |
/// | 2 | fencing token |
/// | 3… | positions, the last one first |
pub(super) const REQUEUE: &str = r"
if (redis.call('GET', KEYS[4]) or ARGV[2]) ~= ARGV[2] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[2], '')
for i = 3, #ARGV do
  local position = tonumber(ARGV[i])
  local entry = redis.call('LINDEX', KEYS[1], position)
  if entry and entry ~= '\0settled' then
    redis.call('LPUSH', KEYS[3], entry)
    redis.call('LSET', KEYS[1], position, '\0settled')
  end
end
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], KEYS[1])
end
return redis.status_reply('OK')
";

/// Ends the ownership of the queue, if this store has it, and the fence.
///
/// | KEYS | |
/// |---|---|
/// | 1 | owner of the queue |
/// | 2 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | the store's id |
/// | 2 | fencing token |
pub(super) const RELEASE: &str = r"
if (redis.call('GET', KEYS[2]) or ARGV[2]) ~= ARGV[2] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('DEL', KEYS[2])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.status_reply('OK')
";
