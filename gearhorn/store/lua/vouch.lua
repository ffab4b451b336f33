-- Note the process of Redis that has answered for so long that no list from before it is in use.
-- KEYS: identity, run
-- ARGV: the identity, the run
-- include identity
redis.call('SET', KEYS[2], ARGV[2])
return 1
