-- Read a page of the topics that have subscribers.
-- KEYS: those of store
-- ARGV: those of store, the topic before the page, the most topics in it
-- Returns topics and the numbers of their subscribers in turn.
-- include checks
local rows = {}
local page = redis.call(
  'ZRANGEBYLEX', topics, '(' .. given[1], '+', 'LIMIT', 0, given[2])
local undeclared = needs(page)
if undeclared then return undeclared end
for _, topic in ipairs(page) do
  if set_is_gone(topic) then return incomplete(topic) end
  rows[#rows + 1] = topic
  rows[#rows + 1] = redis.call('SCARD', set_of .. topic)
end
return rows
