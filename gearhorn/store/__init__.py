# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The store of subscriptions and of the daemons' entries.

``base`` is the interface. :func:`open_store` chooses the implementation by the URL:
Redis, also behind Sentinel or as a cluster (``redis``, ``redis_calls``, ``redis_url``,
``redis_cluster``, ``redis_errors``, and ``redis_scripts`` in Lua, ``redis_replies``,
``redis_warnings``),
or an SQLite file (``sqlite``, ``sqlite_calls``, ``sqlite_thread``, ``sqlite_file``,
``sqlite_tables``, ``sqlite_counter``). ``redis_lists`` and ``sqlite_lists`` read the lists of
several topics. ``endings`` is the part about what ends.
``journal`` is the interface of the journals, which stand in the same store or in one of their
own: :func:`open_journals`. Redis: ``redis_journal``, ``journal_replies``, ``redis_watch``;
SQLite: ``sqlite_journal``, ``sqlite_append``, ``sqlite_watch``.
``patterns``, which topics have one: ``redis_patterns``, ``sqlite_patterns``.
``numbers`` is how both notice that they went back to an older state.
``patience`` makes the daemon's calls wait while the store is away, full or refuses.

Invariants:

* Each change is one atomic step, may be repeated without harm, and gives the
  topic a version that nobody has confirmed yet.
* Every call checks the identity of the store in the same step. A store that was
  emptied or swapped is noticed, and not taken for "no subscribers"; nor is one that
  went back to an older state or has lost a key.
* Errors are sorted here: away, full, misconfigured, replaced. No driver's error
  gets out.

Rejected: a cache in the store, and a queue (Gearman has one); transactions in Redis
(MULTI is refused while memory is out, when reading must go on).
"""

from gearhorn import errors
from gearhorn.store.base import Store
from gearhorn.store.journal import Journals

_REDIS = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
_SQLITE = ("sqlite",)


def open_store(
    url: str, *, key_prefix: str, matchmaking_topic: str, timeout: float, worker_id: str = ""
) -> Store:
    """Return the store that a URL names. It still has to be opened.

    :param key_prefix: the beginning of every key in Redis. An SQLite store has
        its file for itself and needs none.
    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param timeout: seconds that an answer may take.
    :param worker_id: the daemon that calls, ``""`` if none does.
    :raises StoreMisconfigured: the URL is wrong.
    """
    scheme = url.partition(":")[0].lower()
    # Imported here, as each needs libraries that the other does not.
    if scheme in _REDIS:
        from gearhorn.store.redis import RedisStore

        return RedisStore(
            url,
            key_prefix=key_prefix,
            matchmaking_topic=matchmaking_topic,
            timeout=timeout,
            worker_id=worker_id,
        )
    if scheme in _SQLITE:
        from gearhorn.store.sqlite import SQLiteStore

        return SQLiteStore(
            url, matchmaking_topic=matchmaking_topic, timeout=timeout, worker_id=worker_id
        )
    raise _unknown_scheme()


def open_journals(
    url: str,
    *,
    key_prefix: str,
    timeout: float,
    worker_id: str = "",
    max_topics: int,
    id_window: float,
) -> Journals:
    """Return the store of journals that a URL names. It still has to be opened.

    :param key_prefix: the beginning of every key in Redis.
    :param timeout: seconds that an answer may take.
    :param worker_id: the daemon that appends, ``""`` if none does.
    :param max_topics: the most journals that appends make.
    :param id_window: seconds for which an id is kept after it was last used.
    :raises StoreMisconfigured: the URL is wrong.
    """
    scheme = url.partition(":")[0].lower()
    if scheme in _REDIS:
        from gearhorn.store.redis_journal import RedisJournals

        return RedisJournals(
            url,
            key_prefix=key_prefix,
            timeout=timeout,
            worker_id=worker_id,
            max_topics=max_topics,
            id_window=id_window,
        )
    if scheme in _SQLITE:
        from gearhorn.store.sqlite_journal import SQLiteJournals

        return SQLiteJournals(
            url,
            timeout=timeout,
            worker_id=worker_id,
            max_topics=max_topics,
            id_window=id_window,
        )
    raise _unknown_scheme()


def _unknown_scheme() -> errors.StoreMisconfigured:
    return errors.StoreMisconfigured(
        "the URL of the store begins with an unknown scheme; known are "
        + ", ".join(f"{scheme}://" for scheme in (*_REDIS, *_SQLITE))
    )
