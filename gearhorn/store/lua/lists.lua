-- Read the lists of several topics.
-- KEYS: those of store
-- ARGV: those of store, a worker id, the most members of a topic, then topics
-- Returns the renewal number of that daemon, the version of the patterns of topics with journals, the
--   client_ids of each topic joined by NUL, or nil for one that has to be read by itself; then the
--   place of a topic, a client_id and its limits, in turn.
-- include checks
-- include limits
local reader, most = given[1], tonumber(given[2])
local lists, brought = {}, {}
for place = 1, #given - 2 do
  local topic = given[place + 2]
  local set = set_of .. topic
  -- Of another type it is an error, and a table. That one topic is to fail, and no other.
  local size = redis.pcall('SCARD', set)
  if type(size) ~= 'number' or size > most or size == 0 and set_is_gone(topic) then
    lists[place] = false
  else
    local client_ids = redis.call('SMEMBERS', set)
    lists[place] = table.concat(client_ids, '\0')
    local limits = limits_among(topic, client_ids)
    for i = 1, #limits, 2 do
      brought[#brought + 1] = place - 1
      brought[#brought + 1] = limits[i]
      brought[#brought + 1] = limits[i + 1]
    end
  end
end
return {redis.call('HGET', daemons, reader), redis.call('HGET', patterns, 'version'), lists, brought}
