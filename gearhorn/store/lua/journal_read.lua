-- Read a page of each of some journals.
-- KEYS: those of journal
-- ARGV: those of journal, and what is asked of each, packed: the sequence before the page, the journal to
--   which it belongs or nil, the most messages, the most bytes of payloads
-- Returns for each, until they have many bytes, the journal or '', the first and the last sequence, the last
--   that was trimmed, the last jump, the sequence before the page, the ids of the entries in it with time
--   and number of groups, in one text, and the payloads.
-- include journal
-- Few entries at a time where they may be large: Lua copies what it is given.
local MOST_BYTES = 16777216
local questions = cmsgpack.unpack(ARGV[2])

-- Return what is to be answered, and the bytes in it.
local function read(nth, after, named, limit, max_bytes)
  local head, stream = keys_of(nth)
  local journal = read_head(head, stream)
  if not journal then return {'', '1', '0', '0', '0', named and '0' or whole(after), ''}, 0 end
  if named and named ~= journal.id then after = 0 end

  local size = math.max(1, math.min(
    limit, math.floor(MOST_BYTES / math.max(1, journal.largest)),
    math.floor(max_bytes * (journal.messages / math.max(1, journal.bytes))) + 1))
  local found = {
    journal.id, whole(journal.first), whole(journal.last), whole(journal.trimmed), whole(journal.jump),
    whole(after), ''}
  local heads, count, bytes, is_over = {}, 0, 0, after >= journal.last
  local from = whole(after + 1) .. '-0'
  while not is_over do
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', math.min(size, limit - count))
    is_over = #page < size
    for _, entry in ipairs(page) do
      local fields = entry[2]
      local payload = fields[6]
      bytes = bytes + #payload
      if bytes > max_bytes and count > 0 then
        is_over = true
        break
      end
      count = count + 1
      found[7 + count] = payload
      heads[3 * count - 2], heads[3 * count - 1], heads[3 * count] = entry[1], fields[2], fields[4]
    end
    is_over = is_over or count >= limit
    if not is_over then from = '(' .. page[#page][1] end
  end
  found[7] = table.concat(heads, ' ')
  return found, bytes
end

local replies, size = {}, 0
for nth, question in ipairs(questions) do
  local after, named, limit, max_bytes = unpack(question, 1, 4)
  local reply, bytes = read(nth, after, named, limit, max_bytes)
  size = size + bytes
  if nth > 1 and size > MOST_BYTES then break end
  replies[nth] = reply
end
return replies
