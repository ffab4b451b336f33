-- Remove a subscriber, if it is there.
-- KEYS: those of store
-- ARGV: those of store, topic, client_id
-- Returns the number of the change, and topics and their unconfirmed versions in turn.
-- include subscriptions
if set_is_gone(given[1]) then return incomplete(given[1]) end
discard(given[1], given[2])
return {number, unconfirmed_of({given[1]})}
