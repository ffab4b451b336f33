-- Remove subscribers that have expired.
-- KEYS: those of subscriptions
-- ARGV: those of subscriptions, the most to remove
-- Returns topics and their unconfirmed versions in turn.
-- include subscriptions
local changed, seen = {}, {}
local due = redis.call(
  'ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, ARGV[3])
for _, member in ipairs(due) do
  local topic, client_id = split(member)
  discard(topic, client_id)
  if not seen[topic] then
    seen[topic] = true
    changed[#changed + 1] = topic
  end
end
return unconfirmed_of(changed)
