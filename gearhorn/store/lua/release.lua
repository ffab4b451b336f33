-- Give a lease back.
-- KEYS: those of store
-- ARGV: those of store, queue, the token of the lease
-- include endings
local token = lease_of(given[1])
if token and token == given[2] then redis.call('HDEL', discards, given[1]) end
return 1
