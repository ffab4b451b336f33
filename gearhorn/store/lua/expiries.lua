-- When subscribers expire.
-- KEYS: identity, expiry
-- ARGV: the identity, then topic NUL client_id of each
-- Returns the time, then of each when it expires, in milliseconds, or nil.
-- include identity
-- include clock
local found = {now}
for i = 2, #ARGV do
  found[i] = redis.call('ZSCORE', KEYS[2], ARGV[i])
end
return found
