-- Remove a subscriber, if it is there.
-- KEYS: those of subscriptions, the topic's set
-- ARGV: those of subscriptions, topic, client_id
-- Returns topics and their unconfirmed versions in turn.
-- include subscriptions
discard(ARGV[3], ARGV[4])
return unconfirmed_of({ARGV[3]})
