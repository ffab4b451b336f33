-- Read a page of the topics that have journals.
-- KEYS: those of journal, without any topic
-- ARGV: those of journal, the topic before the page, the most topics in it
-- Returns the topics.
-- include journal
return redis.call('ZRANGEBYLEX', index, '(' .. ARGV[2], '+', 'LIMIT', 0, ARGV[3])
