# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A Redis from which keys are gone, as where it evicts them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gearhorn import clock, errors
from gearhorn.store import redis_calls
from gearhorn.store.base import Store
from gearhorn.store.redis import RedisStore
from gearhorn.tests.functional.store.stores import MATCHMAKING, AnyRedis, ids, opened
from gearhorn.tests.servers import Redis

Evict = Callable[[str], None]


@pytest.fixture
async def store(any_redis: AnyRedis, key_prefix: str) -> AsyncIterator[Store]:
    """Of one topic with two subscribers, and one daemon."""
    async with opened(any_redis.url, key_prefix) as store:
        await store.join("one", "{}")
        await store.add("memos", "alice", None)
        await store.add("memos", "bob", None)
        yield store


@pytest.fixture
def evict(any_redis: AnyRedis, key_prefix: str) -> Evict:
    def evict(key: str) -> None:
        assert any_redis.ask("DEL", key_prefix + key) == ":1\r\n"

    return evict


CONCERNED: dict[str, tuple[Any, ...]] = {
    "add": ("memos", "carol", None),
    "remove": ("memos", "nobody"),
    "members": ("memos", "one"),
    "topics": ("", 10),
    "subscribers": ("memos", "", 10),
}
"""The calls that concern the set of a topic."""

ALL: dict[str, tuple[Any, ...]] = {
    **CONCERNED,
    "vouch": (),
    "reap": (10,),
    "unconfirmed": (10,),
    "join": ("two", "{}"),
    "renew": ("one",),
    "leave": ("two",),
    "daemons": (),
    "bar": ("two",),
    "remove_daemon": ("two", 1),
}


@pytest.mark.parametrize("name", CONCERNED)
async def test_a_set_that_is_gone_is_rebuilt_by_whatever_concerns_it(
    store: Store, evict: Evict, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    evict("topic:memos")
    await getattr(store, name)(*CONCERNED[name])
    assert {"alice", "bob"} <= await ids(store, "memos")
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "'memos'" in line
    assert "with 2 members" in line


@pytest.mark.parametrize("name", ALL)
async def test_the_list_of_topics_is_rebuilt_by_whatever_comes(
    store: Store, evict: Evict, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    evict("topics")
    evict("topic:memos")
    await getattr(store, name)(*ALL[name])
    sizes = {row.topic: row.subscribers for row in await store.topics("", 10)}
    assert sizes["memos"] >= 2
    assert MATCHMAKING in sizes
    assert "rebuilt it from other keys, with 2 members" in caplog.text


async def test_expired_ones_are_not_reaped_from_a_set_that_is_gone(
    store: Store, evict: Evict
) -> None:
    await store.add("memos", "carol", 0.001)
    evict("topic:memos")
    while not (changes := await store.reap(10)):
        pass
    assert [change.topic for change in changes] == ["memos"]
    assert await ids(store, "memos") == {"alice", "bob"}


async def test_a_list_whose_set_goes_between_two_pages_is_whole(
    store: Store,
    any_redis: AnyRedis,
    key_prefix: str,
    evict: Evict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_calls, "_PAGE", 10)
    names = {f"subscriber {number}" for number in range(300)}
    for name in names:
        await store.add("large", name, None)
    assert isinstance(store, RedisStore)
    script = store._script
    pages = 0

    async def after_a_page(name: str, *arguments: Any) -> Any:
        nonlocal pages
        pages += name == "page"
        if pages == 3:
            pages += 1
            evict("topic:large")
        return await script(name, *arguments)

    monkeypatch.setattr(store, "_script", after_a_page)
    assert await ids(store, "large") == names
    assert pages > 4


async def test_the_set_of_the_daemons_is_rebuilt(store: Store, evict: Evict) -> None:
    await store.join("two", "{}")
    evict("topic:__matchmaking")
    assert set(await store.daemons()) == {"one", "two"}
    assert await ids(store, MATCHMAKING) == {"one", "two"}
    assert await store.renew("one")


async def test_daemons_whose_entries_are_gone_are_told_all_the_same(
    store: Store, evict: Evict
) -> None:
    evict("daemons")
    assert (await store.daemons())["one"].renewal == 0
    assert not (await store.members("memos", "one")).reader_known
    assert not await store.renew("one")
    await store.join("two", "{}")
    # Others see that it does not come back.
    assert await store.remove_daemon("one", 0)
    assert set(await store.daemons()) == {"two"}


async def test_all_that_tells_of_daemons_gone_counts_as_a_restart(
    store: Store, any_redis: AnyRedis, key_prefix: str, evict: Evict
) -> None:
    await store.vouch()
    evict("daemons")
    evict("topic:__matchmaking")
    assert await store.daemons() == {}
    await store.join("two", "{}")
    before = clock.now()
    async with opened(any_redis.url, key_prefix) as later:
        assert later.run_changed_at > before


async def test_when_a_daemon_was_last_seen_may_be_unknown(store: Store, evict: Evict) -> None:
    evict("seen")
    assert (await store.daemons())["one"].age is None


@pytest.mark.parametrize("name", CONCERNED)
async def test_a_set_that_cannot_be_rebuilt_waits_for_the_word(
    store: Store, evict: Evict, name: str
) -> None:
    evict("claims")
    evict("topic:memos")
    for _ in range(2):
        with pytest.raises(errors.StoreIncomplete, match="the set of topic memos is gone"):
            await getattr(store, name)(*CONCERNED[name])
    # What does not concern it goes on.
    await store.add("other", "alice", None)
    assert await ids(store, "other") == {"alice"}

    assert await store.mend(strike_out=True) == {"memos": 0}

    assert await ids(store, "memos") == set()
    await store.add("memos", "carol", None)
    assert await ids(store, "memos") == {"carol"}


async def test_a_list_of_topics_that_cannot_be_rebuilt_waits_for_the_word(
    store: Store, evict: Evict
) -> None:
    for key in ("claims", "topics", "topic:memos"):
        evict(key)
    for name, arguments in ALL.items():
        with pytest.raises(errors.StoreIncomplete, match="the list of topics is gone"):
            await getattr(store, name)(*arguments)
    await store.mend(strike_out=True)
    assert await ids(store, "memos") == set()
    assert await store.renew("one")


async def test_nothing_is_mended_in_a_store_that_is_whole(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    assert await store.mend() == {}
    assert await store.mend(strike_out=True) == {}
    assert await ids(store, "memos") == {"alice", "bob"}
    assert not caplog.records


async def test_a_policy_that_evicts_is_seen_when_it_is_set(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(redis.url) as store:
        await store.look()
        assert store.evicts is None
        redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        for _ in range(2):
            await store.look()
            assert store.evicts == "allkeys-lru"
        assert caplog.text.count("noeviction") == 1
        redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await store.look()
        assert store.evicts is None


async def test_a_rebuilding_of_which_no_answer_comes_is_told_too(
    store: Store, evict: Evict, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(store, RedisStore)
    script = store._script

    async def losing(name: str, *arguments: Any) -> Any:
        reply = await script(name, *arguments)
        if name == "mend" and reply[0] != redis_calls._NEEDS:
            raise errors.StoreAway("the answer is lost")
        return reply

    evict("topic:memos")
    monkeypatch.setattr(store, "_script", losing)
    with pytest.raises(errors.StoreAway):
        await store.members("memos", "one")
    assert "it did not answer what was rebuilt" in caplog.text
    assert await ids(store, "memos") == {"alice", "bob"}
