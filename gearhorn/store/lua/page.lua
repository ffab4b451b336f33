-- Read a page of a topic's set, or of the unconfirmed changes.
-- KEYS: those of store
-- ARGV: those of store, cursor, count, a worker id, and the topic if there is one
-- Returns the next cursor, the page, the renewal number of that daemon, client_ids of the page and their
--   limits in turn, and the version of the patterns of topics with journals.
-- include checks
-- include limits
local cursor, count, reader, topic = given[1], given[2], given[3], given[4]
local page
local limits = {}
if topic then
  if set_is_gone(topic) then return incomplete(topic) end
  page = redis.call('SSCAN', set_of .. topic, cursor, 'COUNT', count)
  limits = limits_among(topic, page[2])
else
  page = redis.call('HSCAN', unconfirmed, cursor, 'COUNT', count)
end
return {page[1], page[2], redis.call('HGET', daemons, reader), limits,
  redis.call('HGET', patterns, 'version')}
