-- Read the patterns of topics with journals.
-- KEYS, ARGV: those of store

-- Return the version, the patterns, the identity of the journals' store, and 1 if they are in force.
local function read_patterns()
  local version, text, journals = unpack(
    redis.call('HMGET', patterns, 'version', 'patterns', 'journals'))
  return {
    version or '0', text or '[]', journals or '', 1 - redis.call('HEXISTS', unconfirmed, matchmaking)}
end
