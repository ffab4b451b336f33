# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals in a Redis that is full, frozen, restarted, or does not allow everything."""

from __future__ import annotations

import asyncio

import pytest

from gearhorn import errors
from gearhorn.store import redis_journal
from gearhorn.store.journal import Appended, Entry, JournalLimits, Mark, Refused
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    TOPIC,
    append,
    opened,
    read,
    request,
    send,
    shown,
    until_appended,
)
from gearhorn.tests.functional.store.stores import PREFIX
from gearhorn.tests.servers import Redis

pytestmark = pytest.mark.once

RIGHTS = "on >pw ~gearhorn:* -@all +@read +@write +@scripting +@connection +info +time"
CHANNELS = " resetchannels &gearhorn:* +publish +subscribe +unsubscribe"


def used_memory(server: Redis) -> int:
    answer = server.ask("INFO", "memory")
    return int(answer.split("used_memory:")[1].split("\r")[0])


async def test_a_full_redis_takes_no_appends_until_upkeep_has_made_room(start: Start) -> None:
    server = start(Redis(maxmemory_policy="noeviction"))
    limits = JournalLimits(100_000, 1 << 30, 0.2)
    async with opened(server.url) as journals, opened(server.url, "two") as other:
        await append(journals, Entry([b"x" * 1000] * 2000, id="42"), limits=limits)
        server.ask("CONFIG", "SET", "maxmemory", str(used_memory(server) - 500_000))
        refused = request("y", limits=limits)
        first_of_topic = request("z", topic="new", limits=limits)
        for turn in ([refused], [first_of_topic], [first_of_topic, refused]):
            with pytest.raises(errors.StoreFull):
                await journals.append(turn)
        # A duplicate has to note that its id was used.
        with pytest.raises(errors.StoreFull):
            await append(other, Entry([b"x"], id="42"))
        found = await read(journals, limit=1)
        assert (found.last, len(found.messages)) == (2000, 1)
        assert await journals.topics("", 10) == [TOPIC]
        await asyncio.sleep(0.3)
        await journals.upkeep(lambda topic: limits)
        assert [type(answer) for answer in await journals.append([first_of_topic, refused])] == [
            Appended,
            Appended,
        ]
        assert await shown(journals) == [(2001, "y")]
        assert (await read(journals)).first == 2001


async def test_an_append_without_an_answer_is_done_once(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url, timeout=2.0) as journals:
        await append(journals, "a")
        server.pause()
        once = request("b", "c")
        with pytest.raises(errors.StoreAway):
            await send(journals, once)
        # What was sent is still there to be read, and is carried out; then the repeat comes.
        server.resume()
        answer = await until_appended(journals, once)
        assert [place.sequence for place in answer.placed] == [2, 3]
        await append(journals, "d")
        # A try that is carried out later still is of no use to anybody.
        assert await journals.append([once]) == [Refused.LATE]
        assert await shown(journals) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


async def test_what_was_acknowledged_survives_if_redis_keeps_each_write(redis: Redis) -> None:
    async with opened(redis.url) as journals:
        answers = [await append(journals, str(number)) for number in range(20)]
        redis.kill()
        redis.start()
        after = await until_appended(journals, request("20"))
        assert after.journal == answers[0].journal
        assert [payload for _, payload in await shown(journals)] == [str(n) for n in range(21)]


async def test_one_topic_that_fails_does_not_hold_up_the_others(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        server.ask("SET", f"{PREFIX}journal_head:bad", "a string")
        server.ask("SET", f"{PREFIX}journal:worse", "a string")
        turn = [request("a", topic="bad"), request("b"), request("c", topic="worse")]
        bad, good, worse = await journals.append(turn)
        assert isinstance(good, Appended)
        for fault in (bad, worse):
            assert isinstance(fault, errors.StoreMisconfigured)
            assert "WRONGTYPE" in str(fault)
        assert await shown(journals) == [(1, "b")]
        with pytest.raises(errors.StoreMisconfigured):
            await journals.append([turn[0]])
        # Nothing of the other program's is touched.
        assert "a string" in server.ask("GET", f"{PREFIX}journal:worse")
        assert server.ask("EXISTS", f"{PREFIX}journal_head:worse") == ":0\r\n"


async def test_a_topic_whose_keys_are_of_another_program_holds_up_no_upkeep(start: Start) -> None:
    server = start(Redis())
    old = JournalLimits(100, 1 << 20, 0.001)
    async with opened(server.url) as journals:
        await journals.append([request("a", topic="bad"), request("b", topic="good")])
        server.ask("SET", f"{PREFIX}journal_head:bad", "a string")
        await asyncio.sleep(0.01)
        faults = await journals.upkeep(lambda topic: old)
        assert list(faults) == ["bad"]
        assert "WRONGTYPE" in str(faults["bad"])

        await append(journals, "c", topic="good")
        (row,) = await journals.rows(["bad", "good"])
        assert (row.topic, row.last) == ("good", 1)
        assert [row.topic for row in await journals.page("", 10)] == ["good"]
        with pytest.raises(errors.StoreMisconfigured):
            await journals.rows(["bad"])


async def test_the_rights_that_are_documented_are_enough(start: Start) -> None:
    server = start(Redis())
    server.ask("ACL", "SETUSER", "gear", *(RIGHTS + CHANNELS).split())
    async with opened(f"redis://gear:pw@{server.address}") as journals:
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        journals.on_append = heard.put_nowait
        await journals.watch(TOPIC)
        answer = await append(journals, Entry([b"a"], id="42"))
        assert answer.told
        await append(journals, marks=[Mark("42", answer.journal or "", 1, "counts")])
        while await heard.get() != TOPIC:
            pass
        assert await shown(journals) == [(1, "a")]
        assert await journals.page("", 10)
        await journals.upkeep(lambda topic: LIMITS)
        assert (await journals.memory()).used


async def test_without_the_right_to_publish_messages_are_appended_all_the_same(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(Redis())
    server.ask("ACL", "SETUSER", "gear", *RIGHTS.split())
    async with opened(f"redis://gear:pw@{server.address}") as journals:
        for text in "ab":
            answer = await append(journals, text)
            assert not answer.told
        assert caplog.text.count("forbids gearhorn's user to publish") == 1
        # What is no append was forbidden nothing.
        mark = Mark("42", answer.journal or "", 1, "counts")
        assert (await append(journals, marks=[mark])).told
        await append(journals, "c")
        assert caplog.text.count("forbids gearhorn's user to publish") == 1
        # Nothing is heard, and nothing waits for it.
        await journals.watch(TOPIC)
        journals.unwatch(TOPIC)
        assert await shown(journals) == [(1, "a"), (2, "b"), (3, "c")]


async def test_without_the_right_to_ask_for_the_process_nothing_is_appended(start: Start) -> None:
    server = start(Redis())
    server.ask("ACL", "SETUSER", "gear", *(RIGHTS + CHANNELS).split())
    async with opened(f"redis://gear:pw@{server.address}") as journals:
        server.ask("ACL", "SETUSER", "gear", "-info")
        with pytest.raises(errors.StoreMisconfigured, match=r"info|permission|can't run"):
            await append(journals, "a")
        assert server.ask("KEYS", "*journal*") == "*0\r\n"


async def test_a_watch_that_was_interrupted_says_so_and_goes_on(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals, opened(server.url, "two") as other:
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        journals.on_append = heard.put_nowait
        await journals.watch(TOPIC)
        assert await heard.get() is None
        server.ask("SAVE")
        server.kill()
        # While it is away, another topic is watched; nobody waits for ever.
        await asyncio.wait_for(journals.watch("another"), 5.0)
        server.start()
        assert await heard.get() is None
        await until_appended(other, request("a", topic="another"))
        while await heard.get() != "another":
            pass
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        assert await heard.get() is None
        await append(other, "b")
        while await heard.get() != TOPIC:
            pass


async def test_the_most_memory_that_redis_uses_is_told(start: Start) -> None:
    server = start(Redis(maxmemory="100mb"))
    async with opened(server.url) as journals:
        assert (await journals.memory()).limit == 100 << 20


async def test_an_old_redis_is_refused(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_journal, "_LEAST_VERSION", (99, 2))
    with pytest.raises(errors.StoreMisconfigured, match=r"journals need 99\.2 or newer"):
        async with opened(redis_server.url):
            pass


async def test_keys_of_journals_never_expire(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        await append(journals, Entry([b"a"], id="42"))
        await journals.trim(TOPIC, LIMITS)
        keys = [line for line in server.ask("KEYS", "*").split("\r\n") if "journal" in line]
        assert len(keys) == 5
        for key in keys:
            assert server.ask("TTL", key) == ":-1\r\n"
