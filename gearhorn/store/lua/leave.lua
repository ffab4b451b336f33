-- Remove a daemon's entry, if it is there.
-- KEYS, ARGV: those of daemons
-- include daemons
discard()
redis.call('HDEL', told, worker_id)
return 1
