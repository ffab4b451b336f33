-- Have functions that end subscriptions, with the versions of changed topics.
-- KEYS, ARGV: those of store
-- include endings
-- include limits

-- The nonce has a fixed length, so versions rise as the counter does.
local function give_version(topic)
  redis.call('HSET', unconfirmed, topic, give_number() .. nonce)
end

local function expired(member)
  local at = redis.call('ZSCORE', expiry, member)
  return at and tonumber(at) <= now
end

local function discard(topic, client_id)
  local set = set_of .. topic
  local member = topic .. '\0' .. client_id
  local queue = topic .. '_' .. client_id
  local is_last = false
  if redis.call('SISMEMBER', set, client_id) == 1 then
    is_last = redis.call('SCARD', set) == 1
    give_version(topic)
    note_ended(queue, member)
    if is_last then redis.call('ZREM', topics, topic) end
  end
  if redis.call('HGET', claims, queue) == member then
    redis.call('HDEL', claims, queue)
  end
  redis.call('ZREM', expiry, member)
  forget_idle(queue)
  if is_last then
    redis.call('DEL', limits_of(topic))
  else
    redis.call('HDEL', limits_of(topic), client_id)
  end
  redis.call('SREM', set, client_id)
end

local function unconfirmed_of(changed)
  local found = {}
  for _, topic in ipairs(changed) do
    local version = redis.call('HGET', unconfirmed, topic)
    if version then
      found[#found + 1] = topic
      found[#found + 1] = version
    end
  end
  return found
end
