-- Say of each of some topics which journal it has, and the last sequence in it.
-- KEYS: identity, the list of journals, then the head and the stream of each topic
-- ARGV: those of journal
-- Returns the journal or '-', and the last sequence, of each topic in turn, in one text: a thousand answers
--   by themselves take Redis and redis-py longer than all the rest.
-- include journal
local found, streams, there = {}, {}, 0
for at = 3, #KEYS, 2 do
  local id, last = unpack(redis.call('HMGET', KEYS[at], 'id', 'last'))
  found[#found + 1] = id or '-'
  found[#found + 1] = id and last or '0'
  if id then streams[#streams + 1] = at + 1 end
end
-- A head without a stream is none: Redis has evicted the other, or somebody has deleted it.
for from = 1, #streams, PART do
  local some = {}
  for i = from, math.min(from + PART - 1, #streams) do some[#some + 1] = KEYS[streams[i]] end
  there = there + redis.call('EXISTS', unpack(some))
end
if there < #streams then
  for _, at in ipairs(streams) do
    if redis.call('EXISTS', KEYS[at]) == 0 then found[at - 3], found[at - 2] = '-', '0' end
  end
end
return table.concat(found, ' ')
