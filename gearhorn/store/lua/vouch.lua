-- Note the process of Redis that has answered for so long that no list from before it is in use.
-- KEYS: those of store
-- ARGV: those of store, the run
-- include checks
redis.call('SET', run, given[1])
return 1
