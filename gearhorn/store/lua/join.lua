-- Make a daemon's entry, or make it anew if there is one.
-- KEYS: those of store
-- ARGV: those of daemons, the daemon's settings, its secret
-- Returns the entry's renewal number.
-- include daemons
local LEFT_MOST = 100

-- Older releases leave the settings and the like of the daemons whose entries they remove.
for _, hash in ipairs({settings, secrets, knows}) do
  for _, other in ipairs(redis.call('HKEYS', hash)) do
    if redis.call('HEXISTS', daemons, other) == 0 then redis.call('HDEL', hash, other) end
  end
end
-- What a daemon was told stays when its entry is removed: it may only be frozen, and is not to take
-- the removal for a store that went back. The last ones do.
local left = {}
local numbers = redis.call('HGETALL', told)
for i = 1, #numbers, 2 do
  if numbers[i] ~= caller and redis.call('HEXISTS', daemons, numbers[i]) == 0 then
    left[#left + 1] = {numbers[i], tonumber(numbers[i + 1])}
  end
end
table.sort(left, function(one, other) return one[2] > other[2] end)
for i = LEFT_MOST + 1, #left do redis.call('HDEL', told, left[i][1]) end

redis.call('SADD', set, worker_id)
redis.call('ZADD', topics, 0, matchmaking)
redis.call('HSET', settings, worker_id, given[2])
renew(given[3])
return number
