-- Find the topics to which queues belong.
-- KEYS: those of store
-- ARGV: those of store, then queues
-- Returns the queues that belong to one, and the topics, in turn.
-- include checks
local found = {}
if #given == 0 then return found end
for i, member in ipairs(redis.call('HMGET', claims, unpack(given))) do
  if member then
    found[#found + 1] = given[i]
    found[#found + 1] = split(member)
  end
end
return found
