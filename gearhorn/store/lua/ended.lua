-- Read a page of the records of ended subscriptions.
-- KEYS: those of store
-- ARGV: those of store, the queue before the page, the most queues in it
-- Returns the last queue that was looked at, or '' if there are no more; then queues, the topic NUL
--   client_id of each, and the milliseconds since it ended, in turn.
-- include endings
local page = redis.call('ZRANGEBYLEX', ended_queues, '(' .. given[1], '+', 'LIMIT', 0, given[2])
local found = {#page < tonumber(given[2]) and '' or page[#page]}
for _, queue in ipairs(page) do
  local member, at = redis.call('HGET', ended, queue), redis.call('ZSCORE', ended_at, queue)
  -- Older releases add a subscription and leave the record.
  if member and at and redis.call('HEXISTS', claims, queue) == 0 then
    found[#found + 1] = queue
    found[#found + 1] = member
    found[#found + 1] = now - at
  end
end
return found
