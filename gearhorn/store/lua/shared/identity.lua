-- Do nothing in a store that was emptied or swapped.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
