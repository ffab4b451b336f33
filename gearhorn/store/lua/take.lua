-- Take the record of an ended subscription, to discard what is in its queue, or hold it for longer.
-- KEYS: those of store
-- ARGV: those of store, queue, the token of the lease, its length, the milliseconds for which the
--   subscription must have ended, and the token of the lease that is held already or ''
-- Returns 1 if the lease is held, else 0, then the worker ids of daemons that know of no records.
-- include endings
-- include ignorant
local queue, new_token, length, age, held = given[1], given[2], given[3], given[4], given[5]
local token, _, ends = lease_of(queue)

local function refuse(ignorant)
  if token and token == held then redis.call('HDEL', discards, queue) end
  return {0, unpack(ignorant)}
end

if held ~= '' and token ~= held then return {0} end
if held == '' and token and ends > now then return {0} end
-- Redis may have evicted the claims.
local member = redis.call('HGET', ended, queue)
local topic, client_id
if member then
  topic, client_id = split(member)
  local undeclared = needs({topic})
  if undeclared then return undeclared end
end
if redis.call('HEXISTS', claims, queue) == 1
  or (member and redis.call('SISMEMBER', set_of .. topic, client_id) == 1) then
  forget_ended(queue)
  return refuse({})
end
if held == '' then
  local at = redis.call('ZSCORE', ended_at, queue)
  if not at or now - at < tonumber(age) then return {0} end
end
-- A daemon of an older release would add a subscription whatever is taken.
if set_is_gone(matchmaking) then return incomplete(matchmaking) end
local ignorant = ignorant_of('records')
if #ignorant > 0 then return refuse(ignorant) end
redis.call(
  'HSET', discards, queue,
  new_token .. ' ' .. length .. ' ' .. string.format('%.0f', now + tonumber(length)))
return {1}
