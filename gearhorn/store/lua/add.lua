-- Add a subscriber, renew it, or make it permanent.
-- KEYS: those of subscriptions, the topic's set
-- ARGV: those of subscriptions, topic, client_id, ttl in milliseconds or 0, then every topic that
--   the queue can belong to
-- Returns topics and their unconfirmed versions in turn; or, as a string, the holder of the queue.
-- include subscriptions
local set, topic, client_id = KEYS[7], ARGV[3], ARGV[4]
local ttl = tonumber(ARGV[5])
local member = topic .. '\0' .. client_id
local queue = topic .. '_' .. client_id
local known = redis.call('SISMEMBER', set, client_id) == 1

local holder = redis.call('HGET', claims, queue)
if holder and holder ~= member then
  if not expired(holder) then return holder end
  local other_topic, other_client_id = split(holder)
  discard(other_topic, other_client_id)
end

if not known then give_version(topic) end
redis.call('ZADD', topics, 0, topic)
redis.call('HSET', claims, queue, member)
if ttl > 0 then
  redis.call('ZADD', expiry, now + ttl, member)
else
  redis.call('ZREM', expiry, member)
end
redis.call('SADD', set, client_id)
return unconfirmed_of({unpack(ARGV, 6)})
