-- Note since when queues have not been served, if they have subscriptions that may end for it.
-- KEYS: those of store
-- ARGV: those of store, the milliseconds after which a subscription ends that says nothing of it, or
--   0 for never, then queues
-- include endings
-- include limits

local function ends_after(member)
  local topic, client_id = split(member)
  local text = redis.call('HGET', limits_of(topic), client_id)
  local sound, limits = pcall(cjson.decode, text or '{}')
  local own = sound and type(limits) == 'table' and limits.remove_idle
  if type(own) == 'number' then return own * 1000 end
  return tonumber(given[1])
end

local holders = {}
for i = 2, #given do
  local holder = redis.call('HGET', claims, given[i])
  if holder then holders[#holders + 1] = split(holder) end
end
local undeclared = needs(holders)
if undeclared then return undeclared end
for i = 2, #given do
  local queue = given[i]
  local holder = redis.call('HGET', claims, queue)
  local length = holder and math.ceil(ends_after(holder)) or 0
  if length <= 0 then
    forget_idle(queue)
  elseif tonumber(redis.call('HGET', idle_after, queue) or 0) ~= length then
    redis.call('HSET', idle_after, queue, string.format('%.0f', length))
    redis.call('ZADD', idle, string.format('%.0f', now + length), queue)
  end
end
return 1
