-- Read a page of a set or hash.
-- KEYS: identity, a set or hash, daemons
-- ARGV: the identity, SSCAN or HSCAN, cursor, count, a worker id
-- Returns the next cursor, the page, and the renewal number of that daemon.
-- include identity
local page = redis.call(ARGV[2], KEYS[2], ARGV[3], 'COUNT', ARGV[4])
return {page[1], page[2], redis.call('HGET', KEYS[3], ARGV[5])}
