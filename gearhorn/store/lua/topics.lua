-- A page of the topics that have subscribers.
-- KEYS: those of subscriptions
-- ARGV: those of subscriptions, after which topic, how many at the most
-- Returns topics and how many subscribers each has in turn.
-- include subscriptions
local rows = {}
local page = redis.call(
  'ZRANGEBYLEX', topics, '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
for _, topic in ipairs(page) do
  rows[#rows + 1] = topic
  rows[#rows + 1] = redis.call('SCARD', set_of .. topic)
end
return rows
