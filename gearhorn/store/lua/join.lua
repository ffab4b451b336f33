-- Make a daemon's entry, or make it anew if there is one.
-- KEYS: those of daemons
-- ARGV: those of daemons, the daemon's settings
-- include daemons
-- Older releases leave the settings of the daemons whose entries they remove.
for _, other in ipairs(redis.call('HKEYS', settings)) do
  if redis.call('HEXISTS', daemons, other) == 0 then
    redis.call('HDEL', settings, other)
  end
end
renew()
redis.call('HSET', settings, worker_id, ARGV[4])
redis.call('ZADD', topics, 0, matchmaking)
redis.call('SADD', set, worker_id)
return 1
