-- Find the queues whose subscriptions ended so long ago that what is in them may be discarded.
-- KEYS: those of store
-- ARGV: those of store, the milliseconds, then queues
-- Returns those of the queues.
-- include endings
local found = {}
for i = 2, #given do
  local at = redis.call('ZSCORE', ended_at, given[i])
  if at and now - at >= tonumber(given[1]) and redis.call('HEXISTS', claims, given[i]) == 0 then
    found[#found + 1] = given[i]
  end
end
return found
