-- End the messages of a journal that are too old, and the journal if nothing was appended for long.
-- KEYS: those of journal
-- ARGV: those of journal, the topic, the most milliseconds, 0 for no end, or '' for those of the last append,
--   after how many times that a journal ends, the milliseconds for which an id is kept, the most ids, the
--   most messages and ids that are ended at once
-- Returns 1 if there is more to end, else 0.
-- include journal
local topic, unused_after, window = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local most_ids, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local head, stream, ids, ids_at = keys_of(1)
local journal, half = read_head(head, stream)
local max_age = tonumber(ARGV[3]) or (journal and journal.max_age) or 0

if not journal or (max_age > 0 and now - journal.at >= unused_after * max_age) then
  if journal or half then redis.call('DEL', head, stream, ids, ids_at) end
  redis.call('ZREM', index, topic)
  return 0
end
-- What writes less comes first: Redis, when it is full, refuses only a first write that takes memory.
local more = false
if max_age > 0 and journal.first <= journal.last and journal.first_at < now - max_age then
  local changed
  more, changed = trim(journal, stream, math.huge, math.huge, now - max_age, most)
  if changed then write_first(head, journal) end
end
-- Redis may have evicted one of the two.
if redis.call('HLEN', ids) ~= redis.call('ZCARD', ids_at) then
  redis.call('DEL', ids, ids_at)
end
forget_ids(ids, ids_at, window, most_ids, most)
return more and 1 or 0
