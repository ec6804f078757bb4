//! The scripts: every step in Redis that must not fall apart.
//!
//! They are sent whole with EVAL, never by hash: a few hundred bytes a batch
//! buy that `SCRIPT FLUSH` and a restart of Redis change nothing.
//!
//! Each begins with two lines of the same kind:
//!
//! - The *fence*: a process that starts writes the id of its run to a key, and
//!   a script of another run does nothing. What a dead process had sent can
//!   arrive long after it: TCP repeats it for minutes.
//! - A write that changes nothing. Redis short of memory refuses only the first
//!   write of a script, and not one that cannot grow: the ones behind it pass,
//!   and settling is what frees memory.

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
/// processing list.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the queue |
/// | 2 | the list that the blocking command moves to: taken from first |
/// | 3 | the new processing list |
/// | 4 | set of processing lists |
/// | 5 | dead letters |
/// | 6 | owner of the queue |
/// | 7 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | most messages; 0 only renews the ownership |
/// | 2 | most bytes (a single longer message is taken all the same) |
/// | 3 | longest message; a longer one becomes a dead letter here, unfetched |
/// | 4 | beginning of such a dead letter, up to its length |
/// | 5 | most dead letters kept |
/// | 6 | the store's id |
/// | 7 | seconds for which the ownership holds |
/// | 8 | id of the run |
///
/// Returns `{set aside, drained, message, …}`: how many were over-long,
/// whether the queue was empty then (1) or not (0), the messages in order.
/// Under another's ownership it returns that owner, moves nothing, and gives
/// back what the blocking command had brought.
pub(super) const TAKE: &str = r"
if (redis.call('GET', KEYS[7]) or ARGV[8]) ~= ARGV[8] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[4], '')
local owner = redis.call('GET', KEYS[6])
if owner and owner ~= ARGV[6] then
  while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT') do end
  return owner
end
if not owner then redis.call('SET', KEYS[6], ARGV[6], 'EX', ARGV[7]) end
local most, most_bytes, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local result, taken, bytes, aside, drained = {0, 0}, 0, 0, 0, 1
local function take_from(source)
  while taken < most do
    local message = redis.call('LPOP', source)
    if not message then return true end
    bytes = bytes + #message
    if #message > longest then
      redis.pcall('RPUSH', KEYS[5], ARGV[4] .. #message .. '}')
      redis.pcall('LTRIM', KEYS[5], -tonumber(ARGV[5]), -1)
      aside = aside + 1
      if bytes > most_bytes then return false end
    elseif bytes > most_bytes and taken > 0 then
      redis.call('LPUSH', source, message)
      return false
    else
      redis.call('RPUSH', KEYS[3], taken .. ':' .. message)
      taken = taken + 1
      result[taken + 2] = message
    end
  end
  return false
end
if not (take_from(KEYS[2]) and take_from(KEYS[1])) then drained = 0 end
if taken > 0 then redis.call('SADD', KEYS[4], KEYS[3]) end
redis.call('EXPIRE', KEYS[6], ARGV[7])
result[1], result[2] = aside, drained
return result
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
///
/// | ARGV | |
/// |---|---|
/// | 1 | seconds after which a reply list expires |
/// | 2 | most dead letters kept |
/// | 3 | 2 if these are all entries the list ever had, 1 if they are the last open ones, else 0 |
/// | 4 | id of the run |
/// | 5 | dead letter of a reply that is given up, up to its id |
/// | 6 | length of what stands before the id in a reply list's name |
/// | 7… | for each entry: position, index of its reply list in KEYS or 0, reply, dead letter or '' |
///
/// An entry that is no longer there (settled before, or forgotten by Redis)
/// is passed over, so that repeating the script never repeats a reply; where
/// all entries come at once, the list as a whole is there or not. Returns, for
/// each reply that Redis refused, the position, the error, and 1 if the entry
/// was left as it was, because Redis may take the reply later, or 0 if the
/// reply was given up for a dead letter: its list is of another type.
pub(super) const SETTLE: &str = r"
if (redis.call('GET', KEYS[4]) or ARGV[4]) ~= ARGV[4] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('SREM', KEYS[2], '')
local list, whole = KEYS[1], ARGV[3] == '2'
if redis.call('EXISTS', list) == 0 then
  redis.call('SREM', KEYS[2], list)
  return {}
end
local refused, settled, left = {}, {}, 0
local function bury(letter)
  redis.pcall('RPUSH', KEYS[3], letter)
  redis.pcall('LTRIM', KEYS[3], -tonumber(ARGV[2]), -1)
end
for i = 7, #ARGV, 4 do
  local position = tonumber(ARGV[i])
  local entry = whole or redis.call('LINDEX', list, position)
  if entry and entry ~= '' then
    local reply_list, keep = tonumber(ARGV[i + 1]), false
    if reply_list > 0 then
      local key = KEYS[reply_list]
      local pushed = redis.pcall('RPUSH', key, ARGV[i + 2])
      if type(pushed) == 'table' and pushed.err then
        refused[#refused + 1] = position
        refused[#refused + 1] = pushed.err
        keep = not string.find(pushed.err, 'WRONGTYPE', 1, true)
        refused[#refused + 1] = keep and 1 or 0
        if not keep then bury(ARGV[5] .. cjson.encode(string.sub(key, ARGV[6] + 1)) .. '}') end
      else
        redis.call('EXPIRE', key, ARGV[1])
      end
    end
    if keep then
      left = left + 1
    else
      if ARGV[i + 3] ~= '' then bury(ARGV[i + 3]) end
      settled[#settled + 1] = position
    end
  end
end
if ARGV[3] ~= '0' and left == 0 then
  redis.call('DEL', list)
  redis.call('SREM', KEYS[2], list)
else
  for _, position in ipairs(settled) do redis.call('LSET', list, position, '') end
end
return refused
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
  if entry and entry ~= '' then
    redis.call('LPUSH', KEYS[3], string.sub(entry, string.find(entry, ':', 1, true) + 1))
    redis.call('LSET', KEYS[1], position, '')
  end
end
if ARGV[1] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], KEYS[1])
end
return redis.status_reply('OK')
";

/// Leaves the queue to whoever wants it: gives back what the blocking command
/// may have brought, and ends the ownership, if it is ours.
///
/// | KEYS | |
/// |---|---|
/// | 1 | the queue |
/// | 2 | the list that the blocking command moves to |
/// | 3 | owner of the queue |
/// | 4 | the fence |
///
/// | ARGV | |
/// |---|---|
/// | 1 | the store's id |
/// | 2 | id of the run |
pub(super) const LEAVE: &str = r"
if (redis.call('GET', KEYS[4]) or ARGV[2]) ~= ARGV[2] then return redis.error_reply('FENCED by another run of this store: is there a daemon on a copy of its working directory?') end
redis.call('DEL', KEYS[4])
while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT') do end
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
return redis.status_reply('OK')
";
