-- Add a subscriber, renew it, or make it permanent.
-- KEYS: those of store
-- ARGV: those of store, topic, client_id, ttl in milliseconds or 0, its limits or '', the token of a
--   lease that does not count or '', then every topic that the queue can belong to
-- Returns the number of the change, and topics and their unconfirmed versions in turn; or, as a
--   string, the holder of the queue, or NUL, and the token and the length in milliseconds of the lease
--   of the daemon that discards what is in the queue.
-- include subscriptions
local topic, client_id, ttl, limits = given[1], given[2], tonumber(given[3]), given[4]
local despite = given[5]
local set = set_of .. topic
local member = topic .. '\0' .. client_id
local queue = topic .. '_' .. client_id
if set_is_gone(topic) then return incomplete(topic) end
local known = redis.call('SISMEMBER', set, client_id) == 1
-- A key of another type ends the script here, and not when the half is done.
redis.call('ZSCORE', expiry, member)
redis.call('HEXISTS', limits_of(topic), client_id)

local token, length = lease_of(queue)
if token and token ~= despite then return '\0' .. token .. ' ' .. string.format('%.0f', length) end
local holder = redis.call('HGET', claims, queue)
if holder and holder ~= member then
  if not expired(holder) then return holder end
  local other_topic, other_client_id = split(holder)
  local undeclared = needs({other_topic})
  if undeclared then return undeclared end
  if set_is_gone(other_topic) then return incomplete(other_topic) end
  discard(other_topic, other_client_id)
end

-- What changes only the expiry is told too.
if known then give_number() else give_version(topic) end
redis.call('ZADD', topics, 0, topic)
redis.call('HSET', claims, queue, member)
if ttl > 0 then
  redis.call('ZADD', expiry, now + ttl, member)
else
  redis.call('ZREM', expiry, member)
end
if lasting == 1 then redis.call('HSET', limits_of(topic), '', '') end
if limits ~= '' then
  redis.call('HSET', limits_of(topic), client_id, limits)
else
  redis.call('HDEL', limits_of(topic), client_id)
end
redis.call('HDEL', discards, queue)
forget_ended(queue)
forget_idle(queue)
redis.call('SADD', set, client_id)
return {number, unconfirmed_of({unpack(given, 6)})}
