-- Look up a daemon's entry, and have functions that renew and remove it.
-- KEYS: those of store
-- ARGV: those of store, a worker id
-- include checks
local set = set_of .. matchmaking
if set_is_gone(matchmaking) then return incomplete(matchmaking) end
local worker_id = given[1]
local renewal = tonumber(redis.call('HGET', daemons, worker_id) or 0)

local function renew(secret)
  redis.call('HSET', daemons, worker_id, give_number())
  redis.call('HSET', seen, worker_id, now)
  redis.call('HSET', secrets, worker_id, secret)
  redis.call('HSET', knows, worker_id, 'records journals')
end

local function discard()
  local others = redis.call('HLEN', daemons) - lasting - redis.call('HEXISTS', daemons, worker_id)
  local other_members = redis.call('SCARD', set) - redis.call('SISMEMBER', set, worker_id)
  redis.call('HDEL', daemons, worker_id)
  redis.call('HDEL', seen, worker_id)
  redis.call('HDEL', settings, worker_id)
  redis.call('HDEL', secrets, worker_id)
  redis.call('HDEL', knows, worker_id)
  if others == 0 and other_members == 0 then redis.call('ZREM', topics, matchmaking) end
  redis.call('SREM', set, worker_id)
end
