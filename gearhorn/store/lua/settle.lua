-- Have all keys but those of topics exist, with an entry of an empty name.
-- KEYS: those of store, without topics, and follows
-- ARGV: those of store
-- include store
local follows = KEYS[#KEYS]
for _, text in ipairs({counter, looked}) do redis.call('SET', text, '0', 'NX') end
redis.call('SET', run, '', 'NX')
redis.call('SADD', follows, '')
keep_list()
redis.call('ZADD', ended_queues, 0, '')
-- Those that are never due.
for _, times in ipairs({expiry, ended_at, idle}) do redis.call('ZADD', times, '+inf', '') end
for _, hash in ipairs({
  claims, unconfirmed, daemons, seen, settings, told, secrets, knows, ended, discards, idle_after, patterns
}) do
  redis.call('HSETNX', hash, '', '0')
end
return 1
