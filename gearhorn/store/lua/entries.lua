-- Read the entries of all daemons.
-- KEYS: identity, daemons, seen
-- ARGV: the identity
-- Returns the time in milliseconds, worker ids and renewal numbers in turn, then worker ids and the
--   times of their last renewals in turn.
-- include identity
-- include clock
return {
  now, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
