-- Renew a daemon's entry.
-- KEYS: those of store
-- ARGV: those of daemons, the daemon's secret
-- Returns the entry's renewal number, or 0 if there is no entry that may be renewed.
-- include daemons
-- Somebody may have removed the daemon from the set alone, by hand.
local listed = redis.call('SISMEMBER', set, worker_id) == 1
if renewal <= 0 or not listed then return 0 end
renew(given[2])
return number
