-- Note that all job servers were looked at, and find the subscriptions that are to end.
-- KEYS: those of store
-- ARGV: those of store, the most to find
-- Returns their queues.
-- include endings
-- A subscription is to end after ten times the longest gap between two looks at least.
local GAPS, LEAST = 10, 60000
local gap = now - tonumber(redis.call('GET', looked) or 0)
if gap * GAPS > LEAST then
  local lengths = redis.call('HGETALL', idle_after)
  for i = 1, #lengths, 2 do
    if lengths[i] ~= '' and gap * GAPS > tonumber(lengths[i + 1]) then
      redis.call('ZADD', idle, string.format('%.0f', now + lengths[i + 1]), lengths[i])
    end
  end
end
redis.call('SET', looked, string.format('%.0f', now))
return redis.call('ZRANGEBYSCORE', idle, '-inf', string.format('%.0f', now), 'LIMIT', 0, given[1])
