-- Have functions that note what ended, what is discarded, and what is not served.
-- KEYS, ARGV: those of store
-- include checks
local MOST_RECORDS = 100000

-- A subscription that is there has no record, and is served as far as anybody knows.
local function forget_ended(queue)
  redis.call('HDEL', ended, queue)
  redis.call('ZREM', ended_at, queue)
  redis.call('ZREM', ended_queues, queue)
end

local function forget_idle(queue)
  redis.call('ZREM', idle, queue)
  redis.call('HDEL', idle_after, queue)
end

-- The newest records are kept. One that is being discarded may go: its lease stands by itself.
local function note_ended(queue, member)
  redis.call('HSET', ended, queue, member)
  redis.call('ZADD', ended_at, now, queue)
  redis.call('ZADD', ended_queues, 0, queue)
  local surplus = redis.call('ZCARD', ended_at) - lasting - MOST_RECORDS
  if surplus > 0 then
    for _, oldest in ipairs(redis.call('ZRANGE', ended_at, 0, surplus - 1)) do
      forget_ended(oldest)
    end
  end
end

-- Return the token of a queue's lease, its length and its end, in milliseconds; or nil.
local function lease_of(queue)
  local text = redis.call('HGET', discards, queue)
  if not text then return nil end
  local token, length, ends = string.match(text, '^(%S+) (%d+) (%d+)$')
  return token, tonumber(length), tonumber(ends)
end
