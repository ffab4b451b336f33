-- Do nothing in a store that was emptied or swapped.
-- KEYS: identity, then the script's own
-- ARGV: the identity, then the script's own
-- Returns nil from the script that includes it, if the store's identity is another.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
