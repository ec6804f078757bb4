//! The scripts: every step in Redis that must not fall apart.
//!
//! The two that run all the time go by their hash; each new connection loads
//! them, so that a Redis that has forgotten them costs a new connection. The
//! others are sent whole.
//!
//! Each begins with two lines of the same kind:
//!
//! - The *fence*: a process that starts writes the id of its run to a key, and
//!   a script of another run does nothing. What a dead process had sent can
//!   arrive long after it: TCP repeats it for minutes.
//! - A write that changes nothing. Redis short of memory refuses only the first
//!   write of a script, and not one that cannot grow: the ones behind it pass,
//!   and settling is what frees memory.

use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};

/// What stands in the place of a settled entry: nothing that anybody would send
/// for a message. (The scripts have it in their text.)
pub(super) const SETTLED: &[u8] = b"\0settled";

/// The scripts that every connection loads.
pub(super) struct Loaded {
    take: redis::Script,
    settle: redis::Script,
}

impl Loaded {
    pub(super) fn new() -> Self {
        Self {
            take: redis::Script::new(TAKE),
            settle: redis::Script::new(SETTLE),
        }
    }

    /// Hash of [`TAKE`].
    pub(super) fn take(&self) -> &str {
        self.take.get_hash()
    }

    /// Hash of [`SETTLE`].
    pub(super) fn settle(&self) -> &str {
        self.settle.get_hash()
    }

    /// Has Redis know them.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        redis::pipe()
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(TAKE)
            .cmd("SCRIPT")
            .arg("LOAD")
            .arg(SETTLE)
            .exec_async(connection)
            .await
    }
}

/// Whether Redis has forgotten the scripts: a new connection helps.
pub(super) fn are_forgotten(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Puts up the fence of a run.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | id of the run |
pub(super) const FENCE: &str = r"
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1])
return redis.status_reply('OK')
";

/// Takes the queue for a store, or renews that, and moves messages into a new
/// processing list, from where they are read by the command behind this one.
///
/// What a script holds in its hands costs: Lua hashes every byte of a text. So
/// messages are moved unseen as long as there are few of them and all together
/// are short. Else they are moved one by one.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the queue |
/// | 2 | the new processing list |
/// | 3 | set of processing lists |
/// | 4 | dead letters |
/// | 5 | owner of the queue |
/// | 6 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | most messages; 0 only renews the ownership |
/// | 2 | most bytes (a single longer message is taken all the same) |
/// | 3 | longest message; where messages are looked at, a longer one becomes a dead letter here, unfetched |
/// | 4 | beginning of such a dead letter, up to its length |
/// | 5 | most dead letters kept |
/// | 6 | the store's id |
/// | 7 | seconds for which the ownership holds |
/// | 8 | id of the run |
/// | 9 | length of the queue up to which it is measured as a whole |
///
/// Returns `{set aside, drained}`: how many were over-long, and whether the
/// queue was empty then (1) or not (0). Under another's ownership it returns
/// that owner and moves nothing.
const TAKE: &str = r"
if (redis.call('GET', KEYS[6]) or ARGV[8]) ~= ARGV[8] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[3], '')
local owner = redis.call('GET', KEYS[5])
if owner and owner ~= ARGV[6] then return owner end
if not owner then redis.call('SET', KEYS[5], ARGV[6], 'EX', ARGV[7]) else redis.call('EXPIRE', KEYS[5], ARGV[7]) end
local most, most_bytes, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if most == 0 then return {0, 0} end
local queue, list = KEYS[1], KEYS[2]
local waiting = redis.call('LLEN', queue)
if waiting == 0 then return {0, 1} end
if waiting <= tonumber(ARGV[9]) and redis.call('MEMORY', 'USAGE', queue, 'SAMPLES', 0) <= most_bytes then
  redis.call('SADD', KEYS[3], list)
  if waiting <= most then
    redis.call('RENAME', queue, list)
    redis.call('PERSIST', list)
    return {0, 1}
  end
  redis.call('SORT', queue, 'BY', 'nosort', 'LIMIT', 0, most, 'STORE', list)
  redis.call('LTRIM', queue, most, -1)
  return {0, 0}
end
local taken, bytes, aside, drained = 0, 0, 0, 0
while taken < most do
  local message = redis.call('LPOP', queue)
  if not message then
    drained = 1
    break
  end
  bytes = bytes + #message
  if #message > longest then
    redis.pcall('RPUSH', KEYS[4], ARGV[4] .. #message .. '}')
    redis.pcall('LTRIM', KEYS[4], -tonumber(ARGV[5]), -1)
    aside = aside + 1
    if bytes > most_bytes then break end
  elseif bytes > most_bytes and taken > 0 then
    redis.call('LPUSH', queue, message)
    break
  else
    if taken == 0 then redis.call('SADD', KEYS[3], list) end
    redis.call('RPUSH', list, message)
    taken = taken + 1
  end
end
return {aside, drained}
";

/// Settles the finished entries of one processing list.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the processing list |
/// | 2 | set of processing lists |
/// | 3 | dead letters |
/// | 4 | the fence |
/// | 5… | reply lists |
/// | then | the lists in which long replies are already |
///
/// | ARGV | |
/// |---|---|
/// | 1 | seconds after which a reply list expires |
/// | 2 | most dead letters kept |
/// | 3 | 2 if these are all entries the list ever had, 1 if they are the last open ones, else 0 |
/// | 4 | id of the run |
/// | 5 | dead letter of a reply that is given up, up to its id |
/// | 6 | length of what stands before the id in a reply list's name |
/// | 7 | positions of the entries, separated by commas: first those with a reply |
/// | 8 | number of replies |
/// | 9… | the replies; '' for one that is there already |
/// | then | for each dead letter: which of the entries it is of, counted from 1, and the letter |
///
/// A reply list holds 16 replies at most: the oldest goes when one more comes.
/// A client can ask for as many as it likes under one id, and read none.
///
/// An entry that is no longer there (settled before, or forgotten by Redis)
/// is passed over, so that repeating the script never repeats a reply; where
/// all entries come at once, the list as a whole is there or not. Returns, for
/// each reply that Redis refused, which of the entries it is of, counted from 1,
/// the error, and 1 if the entry was left as it was, because Redis may take the
/// reply later, or 0 if the reply was given up for a dead letter: its list is
/// of another type.
const SETTLE: &str = r"
if (redis.call('GET', KEYS[4]) or ARGV[4]) ~= ARGV[4] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[2], '')
local list, whole, replies = KEYS[1], ARGV[3] == '2', tonumber(ARGV[8])
if redis.call('EXISTS', list) == 0 then
  redis.call('SREM', KEYS[2], list)
  return {}
end
local function bury(letter)
  redis.pcall('RPUSH', KEYS[3], letter)
  redis.pcall('LTRIM', KEYS[3], -tonumber(ARGV[2]), -1)
end
local refused, left = {}, {}
local function push(i, key, staged)
  if not staged then return redis.pcall('RPUSH', key, ARGV[8 + i]) end
  if redis.call('EXISTS', key) == 0 then return redis.pcall('RENAME', staged, key) end
  local moved = redis.pcall('LMOVE', staged, key, 'LEFT', 'RIGHT')
  if type(moved) == 'string' then return redis.call('LLEN', key) end
  return moved or {err = 'a long reply is no longer where it was'}
end
local function reply(i, staged)
  local key = KEYS[4 + i]
  local pushed = push(i, key, staged)
  if type(pushed) ~= 'table' or not pushed.err then
    if type(pushed) == 'number' and pushed > 16 then redis.call('LTRIM', key, -16, -1) end
    redis.call('EXPIRE', key, ARGV[1])
    return
  end
  local keep = not string.find(pushed.err, 'WRONGTYPE', 1, true)
  refused[#refused + 1] = i
  refused[#refused + 1] = pushed.err
  refused[#refused + 1] = keep and 1 or 0
  if keep then left[i] = true else bury(ARGV[5] .. cjson.encode(string.sub(key, ARGV[6] + 1)) .. '}') end
end
-- Where all come at once, positions need not be looked at, but for a refusal.
local open, i = {}, 0
if not whole then
  for position in string.gmatch(ARGV[7], '%d+') do
    i = i + 1
    local entry = redis.call('LINDEX', list, position)
    open[i] = entry and entry ~= '\0settled'
  end
end
local next_staged = 5 + replies
for i = 1, replies do
  local staged
  if ARGV[8 + i] == '' then
    staged = KEYS[next_staged]
    next_staged = next_staged + 1
  end
  if whole or open[i] then reply(i, staged) end
end
for i = 9 + replies, #ARGV, 2 do
  local n = tonumber(ARGV[i])
  if (whole or open[n]) and not left[n] then bury(ARGV[i + 1]) end
end
if ARGV[3] ~= '0' and not next(left) then
  redis.call('DEL', list)
  redis.call('SREM', KEYS[2], list)
  return refused
end
i = 0
for position in string.gmatch(ARGV[7], '%d+') do
  i = i + 1
  if (whole or open[i]) and not left[i] then redis.call('LSET', list, position, '\0settled') end
end
return refused
";

/// Runs every command that the scripts run behind a step that they cannot take
/// back, on a key of its own, and returns the rights that are missing to them. A
/// script that is refused a command halfway would lose a message, run it twice
/// or send its reply twice.
///
/// | KEYS | |
/// |---|---|
/// | 1 | a key that nobody uses |
/// | 2… | keys that Redis judges before the script runs |
///
/// The first command is a write that cannot grow: short of memory, Redis would
/// refuse any other.
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

/// Lengths of the entries of a processing list, -1 for a settled one. Changes
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

/// Gives entries that were not started back to the head of the queue.
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
/// | 2 | id of the run |
/// | 3… | positions, the last one first |
pub(super) const GIVE_BACK: &str = r"
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

/// Leaves the queue to whoever wants it: ends the ownership, if it is ours.
///
/// | KEYS | |
/// |---|---|
/// | 1 | owner of the queue |
/// | 2 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | the store's id |
/// | 2 | id of the run |
pub(super) const LEAVE: &str = r"
if (redis.call('GET', KEYS[2]) or ARGV[2]) ~= ARGV[2] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('DEL', KEYS[2])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.status_reply('OK')
";
