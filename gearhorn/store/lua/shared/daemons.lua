-- Look up a daemon's entry, and have functions that renew and remove it.
-- KEYS: identity, counter, topics, daemons, seen, settings, the matchmaking topic's set
-- ARGV: the identity, the matchmaking topic, a worker id
-- include identity
-- include clock
local counter, topics, daemons, seen = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local settings, set = KEYS[6], KEYS[7]
local matchmaking, worker_id = ARGV[2], ARGV[3]
local renewal = tonumber(redis.call('HGET', daemons, worker_id) or 0)

local function renew()
  redis.call('HSET', daemons, worker_id, redis.call('INCR', counter))
  redis.call('HSET', seen, worker_id, now)
end

local function discard()
  redis.call('HDEL', daemons, worker_id)
  redis.call('HDEL', seen, worker_id)
  redis.call('HDEL', settings, worker_id)
  redis.call('SREM', set, worker_id)
  if redis.call('SCARD', set) == 0 then
    redis.call('ZREM', topics, matchmaking)
  end
end
