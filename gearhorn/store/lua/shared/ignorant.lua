-- Find the daemons of an older release.
-- KEYS, ARGV: those of store

-- Return the worker ids of those that do not know of something.
local function ignorant_of(word)
  -- The entry of an empty name that keeps a key is no daemon's.
  local ignorant, asked = {}, {[''] = true}
  for _, names in ipairs({
    redis.call('SMEMBERS', set_of .. matchmaking), redis.call('HKEYS', daemons)}) do
    for _, worker_id in ipairs(names) do
      local known = redis.call('HGET', knows, worker_id)
      if not asked[worker_id] and not (known and string.find(known, word, 1, true)) then
        ignorant[#ignorant + 1] = worker_id
      end
      asked[worker_id] = true
    end
  end
  return ignorant
end
