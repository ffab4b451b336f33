-- Every daemon knows of a topic's change; nothing is done if it has changed since.
-- KEYS: those of subscriptions
-- ARGV: those of subscriptions, topic, version
-- include subscriptions
if redis.call('HGET', unconfirmed, ARGV[3]) == ARGV[4] then
  redis.call('HDEL', unconfirmed, ARGV[3])
end
return 1
