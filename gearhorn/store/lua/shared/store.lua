-- Name the keys and arguments that all scripts take, and have what they share.
-- KEYS: identity, counter, run, topics, claims, expiry, unconfirmed, daemons, seen, settings, told,
--   secrets, knows, ended, ended_at, ended_queues, discards, idle, idle_after, looked, patterns,
--   then the sets and the limits of topics that the caller knows of
-- ARGV: the identity, the matchmaking topic, the names of a topic's set and of its limits up to the
--   topic, the caller's worker id, the number that it was told last, the least that the counter can
--   be, a nonce, 1 if all of these keys but those of topics always exist, with an entry of an empty
--   name, else 0
-- include identity
-- include clock
local counter, run, topics, claims = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local expiry, unconfirmed, daemons, seen = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local settings, told, secrets, knows = KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local ended, ended_at, ended_queues, discards = KEYS[14], KEYS[15], KEYS[16], KEYS[17]
local idle, idle_after, looked, patterns = KEYS[18], KEYS[19], KEYS[20], KEYS[21]
local matchmaking, set_of, limits_prefix = ARGV[2], ARGV[3], ARGV[4]
local caller, nonce, lasting = ARGV[5], ARGV[8], tonumber(ARGV[9])
local given = {unpack(ARGV, 10)}

local declared = {}
for i = 22, #KEYS do declared[KEYS[i]] = true end

-- Return the reply by which the caller learns of topics whose keys it has to give, nil if there are none.
-- One Redis does not ask for them, and is not called twice.
local function needs(found)
  if lasting == 0 then return nil end
  local missing = {'\0needs'}
  for _, topic in ipairs(found) do
    if not declared[set_of .. topic] then missing[#missing + 1] = topic end
  end
  if #missing > 1 then return missing end
end

local function split(member)
  local nul = string.find(member, '\0', 1, true)
  return string.sub(member, 1, nul - 1), string.sub(member, nul + 1)
end

-- Redis evicts whole keys: the list of topics, or a set that is listed in it. The list holds an empty
-- name from the first number on that a daemon was told, so that it is never gone by itself. (Without
-- it, nothing would tell an evicted list from one without topics where claims and daemons are gone too.)
local function keep_list() redis.call('ZADD', topics, 0, '') end

local function list_is_gone()
  if redis.call('EXISTS', topics) == 0 then
    return redis.call('EXISTS', claims, daemons, told) > 0
  end
  return redis.call('HLEN', daemons) > lasting and not redis.call('ZSCORE', topics, matchmaking)
end

local function set_is_gone(topic)
  return redis.call('ZSCORE', topics, topic) and redis.call('EXISTS', set_of .. topic) == 0
end
