-- Mark a topic's change as known to every daemon; do nothing if the topic has changed since.
-- KEYS: those of store
-- ARGV: those of store, topic, version
-- include checks
if redis.call('HGET', unconfirmed, given[1]) == given[2] then
  redis.call('HDEL', unconfirmed, given[1])
end
return 1
