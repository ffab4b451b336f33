-- Keep a daemon's entry from being renewed, and let it stand.
-- KEYS, ARGV: those of daemons
-- Returns the entry's renewal number, 0 if there is none.
-- include daemons
if renewal > 0 then
  renewal = -renewal
  redis.call('HSET', daemons, worker_id, renewal)
end
return renewal
