-- Have what the scripts of journals share.
-- KEYS: identity, the list of journals, then the head, the stream, the ids and the times of the ids of
--   each topic
-- ARGV: the identity, then the script's own
-- include identity
-- include clock
local index = KEYS[2]
local PAGE = 16
-- The arguments of one call: Lua's stack has its bounds.
local PART = 1000

-- What Redis' Lua makes of a number keeps 14 digits; a sequence can have 16.
local function whole(number) return string.format('%.0f', number) end

local function keys_of(nth)
  local at = 4 * nth - 1
  return KEYS[at], KEYS[at + 1], KEYS[at + 2], KEYS[at + 3]
end

-- Return the head, or nil if there is no journal; and the id in the head alone, or true if the stream
-- is alone: Redis has evicted one of the two, or somebody has deleted it. In the head is also one field
-- more, if it is named.
local function read_head(head, stream, field)
  local id, last, trimmed, first, first_at, bytes, largest, run, jump, at, max_age, more = unpack(
    redis.call(
      'HMGET', head, 'id', 'last', 'trimmed', 'first', 'first_at', 'bytes', 'largest', 'run', 'jump',
      'at', 'max_age', field or 'id'))
  local messages = redis.call('XLEN', stream)
  local there = messages > 0 or redis.call('EXISTS', stream) == 1
  if not id or not there then return nil, id or there end
  return {
    id = id, messages = messages, more = more, last = tonumber(last), trimmed = tonumber(trimmed),
    first = tonumber(first), first_at = tonumber(first_at), bytes = tonumber(bytes),
    largest = tonumber(largest), run = run, jump = tonumber(jump), at = tonumber(at),
    max_age = tonumber(max_age)}
end

-- Write what changes when the oldest message is another.
local function write_first(head, journal)
  redis.call(
    'HSET', head, 'trimmed', whole(journal.trimmed), 'first', whole(journal.first), 'first_at',
    whole(journal.first_at), 'bytes', whole(journal.bytes))
end

-- The sequence, the time, the number of groups and the payload of an entry of a stream.
local function read_entry(entry)
  local fields = entry[2]
  return tonumber(string.match(entry[1], '^%d+')), tonumber(fields[2]), fields[4], fields[6]
end

-- End the oldest messages: those beyond a number, beyond a sum of bytes, and older than a time; about
-- so many of them at the most. Return whether there is more to do.
local function trim(journal, stream, max_messages, max_bytes, oldest, most)
  local left, ended, from, is_over = journal.messages, 0, '-', false
  local size = math.min(PAGE, math.max(2, left - max_messages + 1))
  if journal.bytes > max_bytes or oldest > 0 then size = PAGE end
  while not is_over do
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', size)
    if #page == 0 then
      journal.first, journal.first_at = journal.last + 1, 0
      break
    end
    for _, entry in ipairs(page) do
      local sequence, at, _, payload = read_entry(entry)
      is_over = ended >= most
        or (left <= max_messages and (journal.bytes <= max_bytes or left == 1) and at >= oldest)
      if is_over then
        journal.first, journal.first_at = sequence, at
        break
      end
      journal.bytes, journal.trimmed = journal.bytes - #payload, sequence
      left, ended = left - 1, ended + 1
    end
    from = '(' .. page[#page][1]
  end
  if ended > 0 then
    -- Not up to an id: before 6.2.7 Redis ends all where the ids jump (redis/redis#9410).
    redis.call('XTRIM', stream, 'MAXLEN', left)
  end
  return ended >= most, ended > 0
end

-- Forget ids that were not used for so long, and the oldest beyond a number; so many at the most.
local function forget_ids(ids, ids_at, window, most_ids, most)
  local old = redis.call(
    'ZRANGEBYSCORE', ids_at, '-inf', '(' .. whole(now - window), 'LIMIT', 0, most)
  if #old == 0 then
    local surplus = redis.call('ZCARD', ids_at) - most_ids
    if surplus > 0 then old = redis.call('ZRANGE', ids_at, 0, math.min(surplus, most) - 1) end
  end
  for _, id in ipairs(old) do
    redis.call('HDEL', ids, id)
    redis.call('ZREM', ids_at, id)
  end
end
