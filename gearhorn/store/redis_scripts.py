# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The Lua scripts with which :mod:`gearhorn.store.redis` talks to Redis.

Each runs as one atomic step. They all begin with the check of the identity
and return nil if it has gone. Redis does not undo what a script did before
an error, so that order matters: what is read is read first, a changed topic
gets its version next, and the topic's own set is written last. A script that
stops halfway then leaves a version too many, never a change without one, and
does the rest when it is called again. (Redis refuses for want of memory, of
disk or of replicas at the first write only.)

Reads are scripts too. A transaction would do as well, but Redis refuses
MULTI while it is out of memory, when fan-outs can go on.

The sets of other topics than the one asked for have names that are known
only in the script, which is why these do not run on a Redis Cluster.
"""

SUBSCRIPTION_KEYS = (
    "identity",
    "counter",
    "topics",
    "claims",
    "expiry",
    "unconfirmed",
)
DAEMON_KEYS = ("identity", "counter", "topics", "daemons", "seen")

_CHECK = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
"""
_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# ARGV: the identity, then the name of a topic's set up to the topic.
_SUBSCRIPTIONS = (
    _CHECK
    + _CLOCK
    + r"""
local counter, topics, claims = KEYS[2], KEYS[3], KEYS[4]
local expiry, unconfirmed = KEYS[5], KEYS[6]
local set_of = ARGV[2]

local function give_version(topic)
  redis.call('HSET', unconfirmed, topic, redis.call('INCR', counter))
end

local function split(member)
  local nul = string.find(member, '\0', 1, true)
  return string.sub(member, 1, nul - 1), string.sub(member, nul + 1)
end

local function expired(member)
  local at = redis.call('ZSCORE', expiry, member)
  return at and tonumber(at) <= now
end

local function discard(topic, client_id)
  local set = set_of .. topic
  local member = topic .. '\0' .. client_id
  local queue = topic .. '_' .. client_id
  if redis.call('SISMEMBER', set, client_id) == 1 then
    give_version(topic)
    if redis.call('SCARD', set) == 1 then
      redis.call('ZREM', topics, topic)
    end
  end
  if redis.call('HGET', claims, queue) == member then
    redis.call('HDEL', claims, queue)
  end
  redis.call('ZREM', expiry, member)
  redis.call('SREM', set, client_id)
end

local function unconfirmed_of(changed)
  local found = {}
  for _, topic in ipairs(changed) do
    local version = redis.call('HGET', unconfirmed, topic)
    if version then
      found[#found + 1] = topic
      found[#found + 1] = version
    end
  end
  return found
end
"""
)

OPEN = """
local identity = redis.call('GET', KEYS[1])
if identity then return {identity, 0, redis.call('GET', KEYS[3])} end
-- With a counter but no identity this is what is left of a store.
local made = 1 - redis.call('EXISTS', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1])
return {ARGV[1], made, false}
"""
"""KEYS: identity, counter, run. ARGV: a new identity. Returns the one that
holds, 1 if the store was empty, and the run that was vouched for."""

VOUCH = (
    _CHECK
    + """
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""
)
"""KEYS: identity, run. ARGV: the identity, the run."""

ADD = (
    _SUBSCRIPTIONS
    + r"""
local set, topic, client_id = KEYS[7], ARGV[3], ARGV[4]
local ttl = tonumber(ARGV[5])
local member = topic .. '\0' .. client_id
local queue = topic .. '_' .. client_id
local known = redis.call('SISMEMBER', set, client_id) == 1

local holder = redis.call('HGET', claims, queue)
if holder and holder ~= member then
  if not expired(holder) then return holder end
  local other_topic, other_client_id = split(holder)
  discard(other_topic, other_client_id)
end

if not known then give_version(topic) end
redis.call('ZADD', topics, 0, topic)
redis.call('HSET', claims, queue, member)
if ttl > 0 then
  redis.call('ZADD', expiry, now + ttl, member)
else
  redis.call('ZREM', expiry, member)
end
redis.call('SADD', set, client_id)
return unconfirmed_of({unpack(ARGV, 6)})
"""
)
"""ARGV: topic, client_id, ttl in milliseconds or 0, every topic that the queue
can belong to. KEYS ends in the topic's
set. Returns topics and versions in turn, or, as a string, who has the queue."""

REMOVE = (
    _SUBSCRIPTIONS
    + """
discard(ARGV[3], ARGV[4])
return unconfirmed_of({ARGV[3]})
"""
)
"""ARGV: topic, client_id. Returns topics and versions in turn."""

REAP = (
    _SUBSCRIPTIONS
    + """
local changed, seen = {}, {}
local due = redis.call(
  'ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, ARGV[3])
for _, member in ipairs(due) do
  local topic, client_id = split(member)
  discard(topic, client_id)
  if not seen[topic] then
    seen[topic] = true
    changed[#changed + 1] = topic
  end
end
return unconfirmed_of(changed)
"""
)
"""ARGV: how many at the most. Returns topics and versions in turn."""

CONFIRM = (
    _SUBSCRIPTIONS
    + """
if redis.call('HGET', unconfirmed, ARGV[3]) == ARGV[4] then
  redis.call('HDEL', unconfirmed, ARGV[3])
end
return 1
"""
)
"""ARGV: topic, version."""

TOPICS = (
    _SUBSCRIPTIONS
    + """
local rows = {}
local page = redis.call(
  'ZRANGEBYLEX', topics, '(' .. ARGV[3], '+', 'LIMIT', 0, ARGV[4])
for _, topic in ipairs(page) do
  rows[#rows + 1] = topic
  rows[#rows + 1] = redis.call('SCARD', set_of .. topic)
end
return rows
"""
)
"""ARGV: after which topic, how many. Returns topics and counts in turn."""

# ARGV: the identity, the matchmaking topic, a worker id. KEYS ends in that
# topic's set.
_DAEMONS = (
    _CHECK
    + _CLOCK
    + """
local counter, topics, daemons, seen = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local set, matchmaking, worker_id = KEYS[6], ARGV[2], ARGV[3]
local renewal = tonumber(redis.call('HGET', daemons, worker_id) or 0)

local function renew()
  redis.call('HSET', daemons, worker_id, redis.call('INCR', counter))
  redis.call('HSET', seen, worker_id, now)
end

local function discard()
  redis.call('HDEL', daemons, worker_id)
  redis.call('HDEL', seen, worker_id)
  redis.call('SREM', set, worker_id)
  if redis.call('SCARD', set) == 0 then
    redis.call('ZREM', topics, matchmaking)
  end
end
"""
)

JOIN = (
    _DAEMONS
    + """
renew()
redis.call('ZADD', topics, 0, matchmaking)
redis.call('SADD', set, worker_id)
return 1
"""
)

RENEW = (
    _DAEMONS
    + """
-- Somebody may have removed it from the set alone, by hand.
local listed = redis.call('SISMEMBER', set, worker_id) == 1
if renewal <= 0 or not listed then return 0 end
renew()
return 1
"""
)
"""Returns 1, or 0 if there is no entry that may be renewed."""

LEAVE = (
    _DAEMONS
    + """
discard()
return 1
"""
)

BAR = (
    _DAEMONS
    + """
if renewal > 0 then
  renewal = -renewal
  redis.call('HSET', daemons, worker_id, renewal)
end
return renewal
"""
)
"""Returns the renewal number, 0 if there is no entry."""

REMOVE_DAEMON = (
    _DAEMONS
    + """
if renewal ~= 0 and renewal ~= tonumber(ARGV[4]) then return 0 end
discard()
return 1
"""
)
"""ARGV: a renewal number. Returns 1 if there is no entry any more."""

PAGE = (
    _CHECK
    + """
local page = redis.call(ARGV[2], KEYS[2], ARGV[3], 'COUNT', ARGV[4])
return {page[1], page[2], redis.call('HGET', KEYS[3], ARGV[5])}
"""
)
"""KEYS: identity, a set or hash, daemons. ARGV: the identity, SSCAN or HSCAN,
cursor, count, a worker id. Returns the next cursor, what was found, and the
renewal number of that daemon."""

ENTRIES = (
    _CHECK
    + _CLOCK
    + """
return {
  now, redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
"""
)
"""KEYS: identity, daemons, seen. ARGV: the identity. Returns the time and what
is in both."""

EXPIRIES = (
    _CHECK
    + _CLOCK
    + """
local found = {now}
for i = 2, #ARGV do
  found[i] = redis.call('ZSCORE', KEYS[2], ARGV[i])
end
return found
"""
)
"""KEYS: identity, expiry. ARGV: the identity, topic NUL client_id of each.
Returns the time and when each expires."""
