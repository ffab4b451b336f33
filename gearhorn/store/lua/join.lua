-- Make a daemon's entry, or make it anew if there is one.
-- KEYS, ARGV: those of daemons
-- include daemons
renew()
redis.call('ZADD', topics, 0, matchmaking)
redis.call('SADD', set, worker_id)
return 1
