-- Let a daemon's entry be renewed no more, and let it stand.
-- KEYS, ARGV: those of daemons
-- Returns the entry's renewal number, 0 if there is none.
-- include daemons
if renewal > 0 then
  renewal = -renewal
  redis.call('HSET', daemons, worker_id, renewal)
end
return renewal
