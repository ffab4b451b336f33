-- Write the patterns of topics with journals.
-- KEYS: those of store
-- ARGV: those of store, the patterns in JSON, the identity of the journals' store, and 1 to write them over
--   others, else 0
-- Returns the number of the change; and those that stand there then, as patterns.lua does, the daemons that
--   know of no journals, and topics and their unconfirmed versions in turn.
-- include subscriptions
-- include ignorant
-- include patterns
local text, journals = given[1], given[2]
local standing = read_patterns()
local ignorant = {}
if standing[1] == '0' or (given[3] == '1' and (standing[2] ~= text or standing[3] ~= journals)) then
  if set_is_gone(matchmaking) then return incomplete(matchmaking) end
  ignorant = ignorant_of('journals')
  if #ignorant == 0 then
    give_version(matchmaking)
    redis.call(
      'HSET', patterns, 'version', string.format('%.0f', number), 'patterns', text, 'journals', journals)
  end
end
return {number, {read_patterns(), ignorant, unconfirmed_of({matchmaking})}}
