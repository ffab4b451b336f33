-- Read a page of a journal.
-- KEYS: those of journal
-- ARGV: those of journal, the sequence before the page, the journal to which it belongs or '', the most
--   messages, the most bytes of payloads
-- Returns the journal or '', the first and the last sequence, the last that was trimmed, the last jump, the
--   sequence before the page, and the page: entries of the stream.
-- include journal
local after, named, limit, max_bytes = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local head, stream = keys_of(1)
local journal = read_head(head, stream)
if not journal then return {'', '1', '0', '0', '0', named == '' and ARGV[2] or '0', {}} end
if named ~= '' and named ~= journal.id then after = 0 end

-- Few at a time where they may be large: Lua copies what it is given.
local MOST_BYTES = 16777216
local size = math.max(1, math.min(
  limit, math.floor(MOST_BYTES / math.max(1, journal.largest)),
  math.floor(max_bytes * (journal.messages / math.max(1, journal.bytes))) + 1))
local found, bytes, from, is_over = {}, 0, whole(after + 1) .. '-0', false
while not is_over do
  local page = redis.call('XRANGE', stream, from, '+', 'COUNT', math.min(size, limit - #found))
  is_over = #page < size
  for _, entry in ipairs(page) do
    bytes = bytes + #entry[2][6]
    if bytes > max_bytes and #found > 0 then
      is_over = true
      break
    end
    found[#found + 1] = entry
  end
  is_over = is_over or #found >= limit
  if not is_over then from = '(' .. page[#page][1] end
end
return {
  journal.id, whole(journal.first), whole(journal.last), whole(journal.trimmed), whole(journal.jump),
  whole(after), found}
