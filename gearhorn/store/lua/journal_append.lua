-- Append to the journals of several topics, and mark runs that are complete.
-- KEYS: those of journal
-- ARGV: those of journal, the worker id, the milliseconds for which an id is kept, the most ids, the most
--   worker ids, the most journals, the channel up to the topic; then for each topic what is asked for, and
--   all payloads in one. What is asked for is packed, as redis-py and Redis take each argument by itself:
--   the topic, the journal and the last sequence that the worker was told of or '' and 0, the number of the
--   append or 0, the most messages, the most bytes, the most milliseconds or 0, the marks, with id, journal,
--   sequence and counts of each, and the entries, with id, true if in the background, number of groups and
--   the lengths of the payloads of each.
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

local function read_topic(nth)
  local packed, payloads = ARGV[6 + 2 * nth], ARGV[7 + 2 * nth]
  local topic, told_id, told_last, number, max_messages, max_bytes, max_age, marks, entries =
    unpack(cmsgpack.unpack(packed))
  local given = {
    topic = topic, told_id = told_id, told_last = told_last, number = number,
    max_messages = max_messages, max_bytes = max_bytes, max_age = max_age, marks = marks,
    payloads = payloads, entries = {}, ids = {}}
  local at = 0
  for nth_entry, entry in ipairs(entries) do
    local id, background, groups, lengths = unpack(entry)
    given.entries[nth_entry] = {
      id = id, background = background, groups = whole(groups), lengths = lengths,
      messages = #lengths, at = at}
    if id ~= '' then given.ids[#given.ids + 1] = id end
    for _, length in ipairs(lengths) do at = at + length end
  end
  given.names_ids = #given.ids > 0
  for _, mark in ipairs(marks) do given.ids[#given.ids + 1] = mark[1] end
  return given
end

-- Call with many arguments, a part at a time.
local function call_in_parts(name, key, arguments)
  for from = 1, #arguments, PART do
    redis.call(name, key, unpack(arguments, from, math.min(from + PART - 1, #arguments)))
  end
end

-- The records of some ids that count, by id.
local function records_of(names, journal, ids, ids_at)
  local records = {}
  for from = 1, #names, PART do
    local to = math.min(from + PART - 1, #names)
    local texts, used = redis.call('HMGET', ids, unpack(names, from, to)), nil
    for i, text in ipairs(texts) do
      if text then
        used = used or redis.call('ZMSCORE', ids_at, unpack(names, from, to))
        local named, sequence, messages, groups, counts =
          string.match(text, '^(%x+) (%d+) (%d+) (%d+) (.*)$')
        if used[i] and now - used[i] <= window and named == journal.id then
          records[names[from + i - 1]] = {
            sequence = tonumber(sequence), messages = tonumber(messages), groups = groups,
            counts = counts}
        end
      end
    end
  end
  return records
end

local function add_record(fields, id, journal, record)
  fields[#fields + 1] = id
  fields[#fields + 1] = table.concat(
    {journal.id, whole(record.sequence), record.messages, record.groups, record.counts}, ' ')
end

local function mark(given, journal, records, ids)
  local fields = {}
  for _, each in ipairs(given.marks) do
    local id, of_journal, sequence, counts = unpack(each)
    local record = records[id]
    if record and of_journal == journal.id and record.sequence == sequence then
      record.counts = counts
      add_record(fields, id, journal, record)
    end
  end
  call_in_parts('HSET', ids, fields)
end

-- What a duplicate's first run is known to have been.
local function first_of(nth, entry, sequence, stream, record)
  local messages, groups, counts = entry.messages, entry.groups, ''
  if record then messages, groups, counts = record.messages, record.groups, record.counts end
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

local function reply(given, journal, first, repeats, told, stream, records)
  local found = {journal.id, told and 1 or 0, whole(first)}
  for nth, entry in ipairs(given.entries) do
    if repeats[nth] then
      for _, value in ipairs(first_of(nth, entry, repeats[nth], stream, records[entry.id])) do
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
local function add(given, journal, stream, entry, sequence)
  local at, published = entry.at, whole(journal.at)
  for _, length in ipairs(entry.lengths) do
    local payload = string.sub(given.payloads, at + 1, at + length)
    at = at + length
    local added = redis.pcall(
      'XADD', stream, whole(sequence) .. '-0', 't', published, 'g', entry.groups, 'p', payload)
    if type(added) == 'table' then
      if string.find(added.err, 'equal or smaller', 1, true) then return false end
      error(added)
    end
    sequence = sequence + 1
    journal.bytes = journal.bytes + length
    journal.messages = journal.messages + 1
    journal.largest = math.max(journal.largest, length)
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
  local records = journal and records_of(given.ids, journal, ids, ids_at) or {}
  if journal then mark(given, journal, records, ids) end
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
      return reply(given, journal, tonumber(first), repeats, true, stream, records)
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
      -- The records are those of the journal before.
      journal.id, records = new_id(journal.id), {}
    end
    jump = first
  end
  local was_empty = journal.first > journal.last
  journal.at = math.max(journal.at, now)
  local sequence, repeats, listed, added, used = first, {}, {}, {}, {}
  for nth, entry in ipairs(given.entries) do
    local known = records[entry.id]
    if known then
      repeats[nth], listed[#listed + 1] = known.sequence, nth .. '=' .. whole(known.sequence)
    else
      if not add(given, journal, stream, entry, sequence) then
        redis.call('DEL', stream)
        return append(nth_topic, given)
      end
      if entry.id ~= '' then
        records[entry.id] = {
          sequence = sequence, messages = entry.messages, groups = entry.groups, counts = ''}
        add_record(added, entry.id, journal, records[entry.id])
      end
      sequence = sequence + entry.messages
    end
    if entry.id ~= '' then
      used[#used + 1], used[#used + 2] = whole(now), entry.id
    end
  end
  call_in_parts('HSET', ids, added)
  call_in_parts('ZADD', ids_at, used)

  local note = {whole(given.number), whole(now), whole(first), table.concat(listed, ',')}
  local changes = {field, table.concat(note, ' '), 'max_age', whole(given.max_age)}
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
  return reply(given, journal, first, repeats, told, stream, records)
end

local replies = {}
for nth = 1, (#KEYS - 2) / 4 do
  local given = read_topic(nth)
  local sound, answer = pcall(append, nth, given)
  if not sound then
    answer = 'error ' .. (type(answer) == 'table' and answer.err or tostring(answer))
  end
  replies[nth] = answer
end
return replies
