-- Take the identity of the store, or give it one.
-- KEYS: identity, counter, run, follows
-- ARGV: a new identity, the run that answers, the terms, 1 if all keys always exist, else 0, then the
--   tags of the stores that are known
-- Returns the identity, 1 if it may be used, 1 if it was made, the run that was vouched for, and the
--   tags of the stores that it follows.
local TAKE, ACCEPT, TAG_CHARACTERS = 1, 3, 8
local terms = tonumber(ARGV[3])
local identity = redis.call('GET', KEYS[1])

local function follow(own)
  -- Whoever has a list from a store before this one may use it for a while.
  if ARGV[4] == '1' then redis.call('SET', KEYS[3], '') else redis.call('DEL', KEYS[3]) end
  for i = 5, #ARGV do
    if ARGV[i] ~= own then redis.call('SADD', KEYS[4], ARGV[i]) end
  end
end

local function reply(identity, usable, made)
  return {
    identity, usable, made, redis.call('GET', KEYS[3]), redis.call('SMEMBERS', KEYS[4])}
end

local function known(tag)
  for i = 5, #ARGV do
    if ARGV[i] == tag or redis.call('SISMEMBER', KEYS[4], ARGV[i]) == 1 then return true end
  end
  return #ARGV < 5
end

if identity then
  local tag = string.sub(identity, 1, TAG_CHARACTERS)
  if terms == ACCEPT then
    follow(tag)
    return reply(identity, 1, 0)
  end
  return reply(identity, known(tag) and 1 or 0, 0)
end
if terms <= TAKE then return reply('', 0, 0) end
-- A counter without an identity is what is left of a store. No daemon has a list from before a store
-- that was just made, if none is known.
local fresh = #ARGV < 5 and terms ~= ACCEPT and redis.call('EXISTS', KEYS[2]) == 0
redis.call('DEL', KEYS[4])
follow(nil)
if fresh then redis.call('SET', KEYS[3], ARGV[2]) end
redis.call('SET', KEYS[1], ARGV[1])
return reply(ARGV[1], 1, 1)
