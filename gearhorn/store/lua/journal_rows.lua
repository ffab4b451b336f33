-- Say of each of some journals what is in it.
-- KEYS: those of journal
-- ARGV: those of journal
-- Returns for each topic the journal or '', the first and the last sequence, the number of messages, their
--   bytes, and the milliseconds since the oldest was published, or '' if there is none.
-- include journal
local rows = {}
for nth = 1, (#KEYS - 2) / 4 do
  local head, stream = keys_of(nth)
  local journal = read_head(head, stream)
  if journal then
    rows[nth] = {
      journal.id, whole(journal.first), whole(journal.last), journal.messages, whole(journal.bytes),
      journal.messages > 0 and whole(math.max(0, now - journal.first_at)) or ''}
  else
    rows[nth] = {'', '1', '0', 0, '0', ''}
  end
end
return rows
