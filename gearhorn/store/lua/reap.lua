-- Remove subscribers that have expired.
-- KEYS: those of store
-- ARGV: those of store, the most to remove
-- Returns the number of the last change, and how many were removed, followed by topics and
-- their unconfirmed versions in turn.
-- include subscriptions
local changed, reaped = {}, {}
local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, given[1])
local asked = {}
for _, member in ipairs(due) do asked[#asked + 1] = split(member) end
local undeclared = needs(asked)
if undeclared then
  -- What is declared goes first: more may be due each time.
  local some = {}
  for i, topic in ipairs(asked) do
    if declared[set_of .. topic] then some[#some + 1] = due[i] end
  end
  if #some == 0 then return undeclared end
  due = some
end
for _, member in ipairs(due) do
  local topic = split(member)
  if not reaped[topic] then
    if set_is_gone(topic) then return incomplete(topic) end
    reaped[topic] = true
    changed[#changed + 1] = topic
  end
end
for _, member in ipairs(due) do discard(split(member)) end
local reply = unconfirmed_of(changed)
table.insert(reply, 1, #due)
return {number, reply}
