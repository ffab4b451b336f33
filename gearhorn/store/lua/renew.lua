-- Renew a daemon's entry.
-- KEYS, ARGV: those of daemons
-- Returns 1, or 0 if there is no entry that may be renewed.
-- include daemons
-- Somebody may have removed the daemon from the set alone, by hand.
local listed = redis.call('SISMEMBER', set, worker_id) == 1
if renewal <= 0 or not listed then return 0 end
renew()
return 1
