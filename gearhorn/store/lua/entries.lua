-- Read the entries of all daemons.
-- KEYS: those of store
-- ARGV: those of store
-- Returns the time in milliseconds, the members of the matchmaking topic, then, each time with worker
--   ids in turn, the renewal numbers, the times of the last renewals, the settings and the secrets.
-- include checks
if set_is_gone(matchmaking) then return incomplete(matchmaking) end
return {
  now,
  redis.call('SMEMBERS', set_of .. matchmaking),
  redis.call('HGETALL', daemons),
  redis.call('HGETALL', seen),
  redis.call('HGETALL', settings),
  redis.call('HGETALL', secrets)}
