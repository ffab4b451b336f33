-- Take the identity of the store, or give it one.
-- KEYS: identity, counter, run
-- ARGV: a new identity
-- Returns the identity, 1 if the store was empty, and the run that was vouched for.
local identity = redis.call('GET', KEYS[1])
if identity then return {identity, 0, redis.call('GET', KEYS[3])} end
-- A counter without an identity is what is left of a store.
local made = 1 - redis.call('EXISTS', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
return {ARGV[1], made, false}
