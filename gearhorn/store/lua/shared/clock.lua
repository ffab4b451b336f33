-- Read the server's clock: now, in milliseconds.
-- KEYS, ARGV: none
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
