-- Append to the journals of several topics, and mark runs that are complete.
-- KEYS: those of journal
-- ARGV: those of journal, the worker id, the milliseconds for which an id is kept, the most ids, the most
--   worker ids, the most journals, the channel up to the topic; then for each topic: the topic, the
--   journal and the last sequence that the worker was told of or '' and 0, the number of the append or 0,
--   the most messages, the most bytes, the most milliseconds or 0, the number of marks, id, journal,
--   sequence and counts of each, the number of entries, and id, 1 if in the background, number of groups,
--   number of payloads and the payloads of each.
-- Returns for each topic the journal, 1 if waiting readers were told, the first sequence that was given,
--   and, for each entry that was a duplicate, its index from 0, the sequence, the number of messages and
--   of groups, and the counts of the first, and an array of the payloads, in turn. Or, as a string,
--   'too_many_journals', 'late', or 'error' and a text.
-- include journal
local worker, window, most_ids = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local most_workers, most_journals, channel = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local FIXED = 11
local micros = time[1] * 1000000 + time[2]
local run

-- The process of Redis, and the history of what it has.
local function run_now()
  if not run then
    run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. ':'
      .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
  end
  return run
end

local function new_id(old)
  return string.format('%x', math.max(micros, (old and tonumber(old, 16) or 0) + 1))
end

local position = 7

local function next_argument()
  position = position + 1
  return ARGV[position]
end

local function read_topic()
  local given = {
    topic = next_argument(), told_id = next_argument(), told_last = tonumber(next_argument()),
    number = tonumber(next_argument()), max_messages = tonumber(next_argument()),
    max_bytes = tonumber(next_argument()), max_age = next_argument(), marks = {}, entries = {},
    names_ids = false}
  for nth = 1, tonumber(next_argument()) do
    given.marks[nth] = {
      id = next_argument(), journal = next_argument(), sequence = next_argument(),
      counts = next_argument()}
  end
  for nth = 1, tonumber(next_argument()) do
    local entry = {
      id = next_argument(), background = next_argument() == '1', groups = next_argument(),
      messages = tonumber(next_argument())}
    entry.from = position + 1
    given.names_ids = given.names_ids or entry.id ~= ''
    position = position + entry.messages
    given.entries[nth] = entry
  end
  return given
end

-- The record of an id that counts, as sequence, messages, groups and counts.
local function record_of(id, journal, ids, ids_at)
  local text, used = redis.call('HGET', ids, id), redis.call('ZSCORE', ids_at, id)
  if not text or not used or now - used > window then return nil end
  local named, sequence, messages, groups, counts =
    string.match(text, '^(%x+) (%d+) (%d+) (%d+) (.*)$')
  if named ~= journal then return nil end
  return tonumber(sequence), tonumber(messages), groups, counts
end

local function write_record(ids, id, journal, sequence, messages, groups, counts)
  redis.call('HSET', ids, id, table.concat(
    {journal, whole(sequence), messages, groups, counts}, ' '))
end

local function mark(given, journal, ids, ids_at)
  for _, mark in ipairs(given.marks) do
    local sequence, messages, groups = record_of(mark.id, journal.id, ids, ids_at)
    if sequence and mark.journal == journal.id and whole(sequence) == mark.sequence then
      write_record(ids, mark.id, journal.id, sequence, messages, groups, mark.counts)
    end
  end
end

-- What a duplicate's first run is known to have been.
local function first_of(nth, entry, sequence, journal, stream, ids, ids_at)
  local _, messages, groups, counts = record_of(entry.id, journal.id, ids, ids_at)
  messages, groups, counts = messages or entry.messages, groups or entry.groups, counts or ''
  local payloads = {}
  if counts == '' or not entry.background then
    for i = 1, messages do payloads[i] = false end
    local page = redis.call(
      'XRANGE', stream, whole(sequence) .. '-0', whole(sequence + messages - 1) .. '-0')
    for _, stored in ipairs(page) do
      local at, _, _, payload = read_entry(stored)
      payloads[at - sequence + 1] = payload
    end
  end
  return {nth - 1, whole(sequence), messages, groups, counts, payloads}
end

local function reply(given, journal, first, repeats, told, stream, ids, ids_at)
  local found = {journal.id, told and 1 or 0, whole(first)}
  for nth, entry in ipairs(given.entries) do
    if repeats[nth] then
      for _, value in ipairs(first_of(nth, entry, repeats[nth], journal, stream, ids, ids_at)) do
        found[#found + 1] = value
      end
    end
  end
  return found
end

-- Forget the worker id that appended first, if there are too many.
local function forget_worker(head)
  if redis.call('HLEN', head) <= FIXED + most_workers then return end
  local fields, oldest, least = redis.call('HGETALL', head), nil, nil
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'w:' then
      local at = tonumber(string.match(fields[i + 1], '^%d+ (%d+)'))
      if not least or at < least then oldest, least = fields[i], at end
    end
  end
  redis.call('HDEL', head, oldest)
end

-- Begin a journal, with a write first that is refused when Redis is full: what follows a DEL is not.
-- (Whether memory is left is asked before the first write of a script only.)
local function begin(head, stream, ids, ids_at, old)
  local id, run = new_id(type(old) == 'string' and old), run_now()
  redis.call('HSET', head, 'id', id)
  redis.call('DEL', head, stream, ids, ids_at)
  redis.call('HSET', head, 'id', id, 'run', run, 'jump', 0)
  return {
    id = id, last = 0, trimmed = 0, first = 1, first_at = 0, bytes = 0, largest = 0, run = run,
    jump = 0, at = 0, messages = 0}
end

-- Add an entry's messages to the stream from a sequence on. Return false if the stream has that already:
-- it is not the head's.
local function add(journal, stream, entry, sequence)
  for i = entry.from, entry.from + entry.messages - 1 do
    local added = redis.pcall(
      'XADD', stream, whole(sequence) .. '-0', 't', whole(journal.at), 'g', entry.groups, 'p', ARGV[i])
    if type(added) == 'table' then
      if string.find(added.err, 'equal or smaller', 1, true) then return false end
      error(added)
    end
    sequence = sequence + 1
    journal.bytes = journal.bytes + #ARGV[i]
    journal.messages = journal.messages + 1
    journal.largest = math.max(journal.largest, #ARGV[i])
  end
  return true
end

local function append(nth_topic, given)
  local head, stream, ids, ids_at = keys_of(nth_topic)
  local field = 'w:' .. worker
  local journal, half = read_head(head, stream, field)
  if given.names_ids or #given.marks > 0 then
    -- A key of another type ends the script here, and not when the half is done.
    redis.call('HLEN', ids)
    redis.call('ZCARD', ids_at)
  end
  if journal then mark(given, journal, ids, ids_at) end
  if #given.entries == 0 then return {journal and journal.id or '', 1, '0'} end

  local done = journal and journal.more
  if done then
    local number, _, first, listed = string.match(done, '^(%d+) (%d+) (%d+) (.*)$')
    if given.number < tonumber(number) then return 'late' end
    if given.number == tonumber(number) then
      local repeats = {}
      for nth, sequence in string.gmatch(listed, '(%d+)=(%d+)') do
        repeats[tonumber(nth)] = tonumber(sequence)
      end
      return reply(given, journal, tonumber(first), repeats, true, stream, ids, ids_at)
    end
  end
  if not journal then
    if redis.call('ZCARD', index) >= most_journals and not redis.call('ZSCORE', index, given.topic) then
      return 'too_many_journals'
    end
    journal = begin(head, stream, ids, ids_at, half)
  end

  -- What another process has not saved is lost; and less than was told is an older state.
  local first, jump = journal.last + 1, nil
  local told_last = given.told_id == journal.id and given.told_last or 0
  if journal.run ~= run_now() or told_last > journal.last then
    if micros > math.max(journal.last, told_last) then
      first = micros
    else
      journal.id = new_id(journal.id)
    end
    jump = first
  end
  local was_empty = journal.first > journal.last
  journal.at = math.max(journal.at, now)
  local sequence, repeats, listed = first, {}, {}
  for nth, entry in ipairs(given.entries) do
    local known = entry.id ~= '' and record_of(entry.id, journal.id, ids, ids_at)
    if known then
      repeats[nth], listed[#listed + 1] = known, nth .. '=' .. whole(known)
    else
      if not add(journal, stream, entry, sequence) then
        redis.call('DEL', stream)
        return append(nth_topic, given)
      end
      if entry.id ~= '' then
        write_record(ids, entry.id, journal.id, sequence, entry.messages, entry.groups, '')
      end
      sequence = sequence + entry.messages
    end
    if entry.id ~= '' then redis.call('ZADD', ids_at, whole(now), entry.id) end
  end

  local note = {whole(given.number), whole(now), whole(first), table.concat(listed, ',')}
  local changes = {field, table.concat(note, ' '), 'max_age', given.max_age}
  local function change(name, value)
    changes[#changes + 1], changes[#changes + 2] = name, value
  end
  local appended = sequence > first
  if appended then
    journal.last = sequence - 1
    change('last', whole(journal.last))
    change('at', whole(journal.at))
    change('largest', journal.largest)
    if jump then
      change('id', journal.id)
      change('run', run_now())
      change('jump', whole(jump))
    end
    if was_empty then journal.first, journal.first_at = first, journal.at end
    local is_trimmed = journal.messages > given.max_messages or journal.bytes > given.max_bytes
    if is_trimmed then
      trim(journal, stream, given.max_messages, given.max_bytes, 0, math.huge)
    end
    if is_trimmed or was_empty then
      write_first(head, journal)
    else
      change('bytes', whole(journal.bytes))
    end
  end
  redis.call('HSET', head, unpack(changes))
  if not done then forget_worker(head) end
  -- Now and then anyhow: Redis may have evicted the list.
  if not done or given.number % 100 == 0 then redis.call('ZADD', index, 0, given.topic) end
  if given.names_ids then forget_ids(ids, ids_at, window, most_ids, 2 * #given.entries + 10) end
  local told = true
  if appended then
    -- The rights of the user may not allow it.
    told = type(redis.pcall('PUBLISH', channel .. given.topic, '')) ~= 'table'
  end
  return reply(given, journal, first, repeats, told, stream, ids, ids_at)
end

local replies = {}
for nth = 1, (#KEYS - 2) / 4 do
  local given = read_topic()
  local sound, answer = pcall(append, nth, given)
  if not sound then
    answer = 'error ' .. (type(answer) == 'table' and answer.err or tostring(answer))
  end
  replies[nth] = answer
end
return replies
