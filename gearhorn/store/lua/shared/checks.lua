-- Check that the store is whole and not older than what it has answered, before anything is done.
-- KEYS, ARGV: those of store
-- include store
if tonumber(redis.call('HGET', told, caller) or 0) < tonumber(ARGV[5])
  or tonumber(redis.call('GET', counter) or 0) < tonumber(ARGV[6]) then
  return redis.error_reply('WENTBACK the store is older than what it has answered')
end
if list_is_gone() then
  return redis.error_reply('INCOMPLETE the list of topics is gone')
end

local function incomplete(topic)
  return redis.error_reply('INCOMPLETE the set of topic ' .. topic .. ' is gone')
end

-- The last number that this call has given, 0 if none.
local number = 0

local function give_number()
  number = redis.call('INCR', counter)
  if caller ~= '' then
    redis.call('HSET', told, caller, number)
    keep_list()
  end
  return number
end
