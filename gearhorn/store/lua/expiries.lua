-- Read the expiries of subscribers.
-- KEYS: those of store
-- ARGV: those of store, then topic NUL client_id of each subscriber
-- Returns the time, then the expiry of each subscriber or nil, in milliseconds.
-- include checks
local found = {now}
for i, member in ipairs(given) do
  found[i + 1] = redis.call('ZSCORE', expiry, member)
end
return found
