-- End a subscription whose queue has not been served for so long.
-- KEYS: those of store
-- ARGV: those of store, queue
-- Returns the number of the change, and the topic and its unconfirmed version, or nothing if it is not
--   to end.
-- include subscriptions
local queue = given[1]
local due, holder = redis.call('ZSCORE', idle, queue), redis.call('HGET', claims, queue)
if not due or tonumber(due) > now or not holder then return {number, {}} end
local topic, client_id = split(holder)
local undeclared = needs({topic})
if undeclared then return undeclared end
if set_is_gone(topic) then return incomplete(topic) end
discard(topic, client_id)
return {number, unconfirmed_of({topic})}
