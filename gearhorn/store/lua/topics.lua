-- Read a page of the topics that have subscribers.
-- KEYS: those of subscriptions
-- ARGV: those of subscriptions, the topic before the page, the most topics in it
-- Returns topics and the numbers of their subscribers in turn.
-- include subscriptions
local rows = {}
local page = redis.call(
  'ZRANGEBYLEX', topics, '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
for _, topic in ipairs(page) do
  rows[#rows + 1] = topic
  rows[#rows + 1] = redis.call('SCARD', set_of .. topic)
end
return rows
