-- Mark a topic's change as known to every daemon; do nothing if the topic has changed since.
-- KEYS: those of subscriptions
-- ARGV: those of subscriptions, topic, version
-- include subscriptions
if redis.call('HGET', unconfirmed, ARGV[3]) == ARGV[4] then
  redis.call('HDEL', unconfirmed, ARGV[3])
end
return 1
