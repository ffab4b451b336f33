-- Read the limits that subscribers of a topic brought.
-- KEYS, ARGV: those of store
local CHUNK = 1000

local function limits_of(topic)
  return limits_prefix .. topic
end

-- Return the client_ids of a list that brought limits, each followed by those.
local function limits_among(topic, client_ids)
  local found = {}
  local hash = limits_of(topic)
  -- Nearly every topic has none, and the daemons never.
  if topic == matchmaking or redis.call('HLEN', hash) <= lasting then return found end
  for start = 1, #client_ids, CHUNK do
    local some = {unpack(client_ids, start, math.min(start + CHUNK - 1, #client_ids))}
    for i, text in ipairs(redis.call('HMGET', hash, unpack(some))) do
      if text then
        found[#found + 1] = some[i]
        found[#found + 1] = text
      end
    end
  end
  return found
end
