-- Read the expiries of subscribers.
-- KEYS: identity, expiry
-- ARGV: the identity, then topic NUL client_id of each subscriber
-- Returns the time, then the expiry of each subscriber or nil, in milliseconds.
-- include identity
-- include clock
local found = {now}
for i = 2, #ARGV do
  found[i] = redis.call('ZSCORE', KEYS[2], ARGV[i])
end
return found
