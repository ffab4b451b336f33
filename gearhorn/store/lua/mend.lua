-- Rebuild the list of topics, and the sets that are gone though they are listed, from what stands.
-- KEYS: those of store
-- ARGV: those of store, 1 to strike out what cannot be rebuilt, else 0
-- Returns each topic whose set was gone and the number of its members in turn: rebuilt ones first,
--   then, as 0, those struck out, with an empty name for a list of which nothing tells.
-- include store
local PAGE = 1000
local strike_out = given[1] == '1'
local list_was_gone = list_is_gone()
-- If not, nobody knows which topics there were.
local list_is_known = redis.call('EXISTS', topics, claims) > 0
local gone, count = {}, 0
-- The members found of each set that is gone; one at a time would be added at a tenth of the rate.
local found = {}

local function note(topic)
  if gone[topic] == nil then
    gone[topic] = redis.call('EXISTS', set_of .. topic) == 0
    if gone[topic] then count = count + 1 end
  end
end

local function add(topic)
  redis.call('SADD', set_of .. topic, unpack(found[topic]))
  found[topic] = nil
end

-- Call a function with the topic and the client_id of each claim.
local function each_claim(use)
  local cursor = '0'
  repeat
    local page = redis.call('HSCAN', claims, cursor, 'COUNT', PAGE)
    cursor = page[1]
    for i = 2, #page[2], 2 do
      if page[2][i - 1] ~= '' then use(split(page[2][i])) end
    end
  until cursor == '0'
end

local listed = redis.call('ZRANGE', topics, 0, -1)
local named, seen_names = {}, {}
local function name(topic)
  if topic ~= '' and not seen_names[topic] then
    seen_names[topic] = true
    named[#named + 1] = topic
  end
end
for _, topic in ipairs(listed) do name(topic) end
if list_was_gone then each_claim(name) end
local undeclared = needs(named)
if undeclared then return undeclared end

-- Entries of daemons may be gone as well: who starts now is to wait for their lists.
if lasting == 1 then redis.call('SET', run, '') else redis.call('DEL', run) end
local workers = {}
for _, worker_id in ipairs(redis.call('HKEYS', daemons)) do
  if worker_id ~= '' then workers[#workers + 1] = worker_id end
end
if #workers == 0 and set_is_gone(matchmaking) then
  -- The daemons find their entries gone, and join again.
  redis.call('ZREM', topics, matchmaking)
end
for _, topic in ipairs(redis.call('ZRANGE', topics, 0, -1)) do
  if topic ~= '' then note(topic) end
end
if #workers > 0 then note(matchmaking) end
if gone[matchmaking] then
  for _, worker_id in ipairs(workers) do redis.call('SADD', set_of .. matchmaking, worker_id) end
end
if list_was_gone or count > 0 then
  each_claim(function(topic, client_id)
    if list_was_gone and gone[topic] == nil then
      note(topic)
      redis.call('ZADD', topics, 0, topic)
    end
    if gone[topic] then
      local members = found[topic] or {}
      members[#members + 1] = client_id
      found[topic] = members
      if #members == PAGE then add(topic) end
    end
  end)
  for topic in pairs(found) do add(topic) end
end
if list_is_known or strike_out then
  keep_list()
  if #workers > 0 then redis.call('ZADD', topics, 0, matchmaking) end
end

local rebuilt, struck_out = {}, {}
for topic, was_gone in pairs(gone) do
  local members = was_gone and redis.call('SCARD', set_of .. topic) or 0
  if members > 0 then
    rebuilt[#rebuilt + 1] = topic
    rebuilt[#rebuilt + 1] = members
  elseif was_gone and strike_out then
    redis.call('ZREM', topics, topic)
    struck_out[#struck_out + 1] = topic
  end
end
-- Which others there were, nobody knows.
if strike_out and list_was_gone and not list_is_known then struck_out[#struck_out + 1] = '' end
for _, topic in ipairs(struck_out) do
  rebuilt[#rebuilt + 1] = topic
  rebuilt[#rebuilt + 1] = 0
end
return rebuilt
