-- Read a page of the queues that are not served.
-- KEYS: those of store
-- ARGV: those of store, cursor, count
-- Returns the next cursor, and queues and the milliseconds after which their subscriptions end in turn.
-- include checks
return redis.call('HSCAN', idle_after, given[1], 'COUNT', given[2])
