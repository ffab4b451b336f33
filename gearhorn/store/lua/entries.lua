-- The entries of all daemons.
-- KEYS: identity, daemons, seen
-- ARGV: the identity
-- Returns the time in milliseconds, the renewal numbers, and when each was made, in turn with the
--   worker ids.
-- include identity
-- include clock
return {
  now, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
