-- Find the topics to which queues belong.
-- KEYS: those of store
-- ARGV: those of store, then queues
-- Returns the topic of each, or nothing, joined by NUL: one string is read much faster than many.
-- include checks
local found = {}
for i, member in ipairs(redis.call('HMGET', claims, unpack(given))) do
  found[i] = member and split(member) or ''
end
return table.concat(found, '\0')
