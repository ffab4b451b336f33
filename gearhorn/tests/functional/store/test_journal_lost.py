# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Journals of which something is lost: no sequence stands for two messages."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random

import pytest

from gearhorn import errors
from gearhorn.store.journal import Append, Entry, Head, Journals
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.store.copies import Copies
from gearhorn.tests.functional.store.journals import (
    LIMITS,
    TOPIC,
    append,
    opened,
    placed,
    read,
    request,
    send,
    shown,
    until_appended,
)
from gearhorn.tests.functional.store.stores import PREFIX
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis

pytestmark = pytest.mark.once

JUMPED = 10**15
"""What is above it comes from a clock."""

PARTS = {"head": f"{PREFIX}journal_head:{TOPIC}", "stream": f"{PREFIX}journal:{TOPIC}"}


async def jumped(journals: Journals, *entries: Entry | str) -> int:
    """Append, and return the first sequence, which has jumped."""
    sequence = (await append(journals, *entries)).placed[0].sequence
    assert JUMPED < sequence < 2**53
    return sequence


@pytest.mark.parametrize("part", PARTS)
async def test_a_head_or_a_stream_that_is_gone_takes_the_other_with_it(
    start: Start, part: str
) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        once = request("a", Entry([b"b"], id="42"))
        first = await send(journals, once)
        server.ask("DEL", PARTS[part])
        assert await journals.head(TOPIC) == Head(None, 0)
        found = await read(journals, 1, first.journal)
        assert (found.journal, found.last, list(found.messages), found.reset) == (None, 0, [], True)
        assert await journals.rows([TOPIC]) == []
        # Nothing is known of what was there, so this is a new message in another journal.
        again = await send(journals, once)
        assert int(again.journal or "", 16) > int(first.journal or "", 16)
        assert await shown(journals) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("part", PARTS)
async def test_upkeep_removes_what_is_left_of_a_journal(start: Start, part: str) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        await append(journals, Entry([b"a"], id="42"))
        server.ask("DEL", PARTS[part])
        await journals.upkeep(lambda topic: LIMITS)
        assert await journals.topics("", 10) == []
        assert "journal" not in server.ask("KEYS", "*")


async def test_a_stream_that_is_ahead_of_its_head_is_not_its_stream(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        first = await append(journals, "a")
        # As a script leaves it that ended halfway.
        server.ask("XADD", PARTS["stream"], "2-0", "t", "1", "g", "1", "p", "half")
        second = await append(journals, "b")
        assert second.journal != first.journal
        assert await shown(journals) == [(1, "b")]


async def test_an_emptied_store_is_not_written_to(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        await append(journals, "a")
        server.ask("FLUSHALL")
        for call in (
            journals.append([request("b")]),
            journals.head(TOPIC),
            read(journals),
            journals.rows([TOPIC]),
            journals.topics("", 1),
            journals.trim(TOPIC, LIMITS),
        ):
            with pytest.raises(errors.StoreReplaced):
                await call
        assert server.ask("DBSIZE") == ":0\r\n"


async def test_a_restart_with_snapshots_only_gives_no_sequence_again(start: Start) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        kept = await append(journals, "a", "b")
        server.ask("SAVE")
        lost = request("c")
        await send(journals, lost)
        server.kill()
        server.start()
        # A daemon that was told nothing of what is lost.
        async with opened(server.url, "new") as new:
            again = await append(new, "d")
        assert again.journal == kept.journal
        (jump,) = (place.sequence for place in again.placed)
        assert jump > JUMPED
        assert (await until_appended(journals, lost)).placed[0].sequence == jump + 1
        # Whoever had read the lost message is told, and whoever had not.
        for after in (0, 2, 3):
            assert (await read(journals, after)).gap
        assert not (await read(journals, 0, limit=2)).gap
        assert (await read(journals, 2, limit=1)).gap
        assert not (await read(journals, jump)).gap
        assert not (await read(journals)).trimmed


async def test_sequences_of_sixteen_digits_are_like_others(start: Start) -> None:
    server = start(Redis())
    limits = LIMITS._replace(max_messages=4)
    async with opened(server.url) as journals:
        await append(journals, "a")
        server.kill()
        server.start()
        # Nothing was saved, not even the identity.
        with pytest.raises(errors.StoreReplaced):
            await until_appended(journals, request("b"))
    async with opened(server.url) as journals:
        await append(journals, "a")
        server.ask("SAVE")
        server.kill()
        server.start()
        once = request("b", Entry([b"c", b"d"], id="42"), limits=limits)
        jump = (await until_appended(journals, once)).placed[0].sequence
        assert [place.sequence for place in (await send(journals, once)).placed] == [jump, jump + 1]
        assert await shown(journals, jump) == [(jump + 1, "c"), (jump + 2, "d")]
        repeat = await append(journals, Entry([b"x"], id="42"), "e", limits=limits)
        assert [place.sequence for place in repeat.placed] == [jump + 1, jump + 3]
        assert repeat.placed[0].first is not None
        assert repeat.placed[0].first.payloads == [b"c", b"d"]
        (row,) = await journals.rows([TOPIC])
        assert (row.first, row.last, row.messages) == (jump, jump + 3, 4)
        await append(journals, "f", limits=limits)
        assert [sequence for sequence, _ in await shown(journals)] == [*range(jump + 1, jump + 5)]
        assert (await read(journals, jump - 1)).trimmed
        assert not (await read(journals, jump)).trimmed
        assert await journals.head(TOPIC) == Head(repeat.journal, jump + 4)


async def test_a_clock_that_is_behind_makes_another_journal_and_keeps_the_messages(
    start: Start,
) -> None:
    server = start(Redis())
    async with opened(server.url) as journals:
        first = await append(journals, "a", Entry([b"b"], id="42"))
        # Another server, whose clock is ahead, has given these.
        ahead = 2 * 10**15
        server.ask("XADD", PARTS["stream"], f"{ahead}-0", "t", "1", "g", "1", "p", "c")
        server.ask("HSET", PARTS["head"], "last", str(ahead))
        server.ask("SAVE")
        server.kill()
        server.start()
        second = await until_appended(journals, request("d", Entry([b"e"], id="42")))
        assert second.journal not in (None, first.journal)
        assert [place.sequence for place in second.placed] == [ahead + 1, ahead + 2]
        # The record names the journal before it, so it counts as none.
        assert second.placed[1].first is None
        found = await read(journals, 2, first.journal)
        assert (found.reset, found.gap) == (True, True)
        assert [message.payload for message in found.messages] == [*(b"%c" % c for c in b"abcde")]


async def test_a_failover_gives_no_sequence_again_nor_does_one_back(start: Start) -> None:
    master = start(Redis(repl_diskless_sync_delay="0"))
    async with opened(master.url) as journals:
        await append(journals, "a")
        replica = start(master.replica())
        eventually(lambda: ":1\r" in replica.ask("EXISTS", PARTS["stream"]))
        # It lags: what comes now, it never gets.
        replica.ask("REPLICAOF", "NO", "ONE")
        await append(journals, "b", "c")
        # Daemons that were told nothing of what is lost.
        async with opened(replica.url, "new") as new:
            there = await jumped(new, "d")
            assert [payload for _, payload in await shown(new)] == ["a", "d"]
            assert (await read(new, 3)).gap
        # The server becomes a replica of that, and a master again. Its connections stay open, and
        # its run id is the same.
        master.ask("REPLICAOF", *replica.address.split(":"))
        eventually(lambda: ":2\r" in master.ask("XLEN", PARTS["stream"]))
        master.ask("REPLICAOF", "NO", "ONE")
        async with opened(master.url, "newest") as newest:
            back = await jumped(newest, "e")
        assert back > there + 1
        assert [payload for _, payload in await shown(journals)] == ["a", "d", "e"]
        assert (await read(journals, there)).gap


async def test_a_replica_takes_no_appends_and_can_be_read(start: Start) -> None:
    master = start(Redis(repl_diskless_sync_delay="0"))
    async with opened(master.url) as journals:
        await append(journals, "a")
        replica = start(master.replica())
        eventually(lambda: ":1\r" in replica.ask("EXISTS", PARTS["stream"]))
        async with opened(replica.url) as behind:
            with pytest.raises(errors.StoreFull):
                await append(behind, "b")
            assert await shown(behind) == [(1, "a")]


async def test_the_daemon_that_was_told_notices_an_older_state(copies: Copies) -> None:
    async with opened(copies.url) as journals, opened(copies.url, "two") as other:
        first = await append(journals, "a")
        await copies.take()
        await append(other, "b")
        lost = request("c")
        await send(journals, lost)
        await copies.bring_back()
        # Another append would be given 2 and 3 again.
        await jumped(journals, "d")
        assert (await append(other, "e")).journal == first.journal
        assert [payload for _, payload in await shown(journals)] == ["a", "d", "e"]
        assert (await read(journals, 3)).gap
        assert (await placed(journals, Entry([b"f"]))).first is None


async def test_a_daemon_that_was_told_of_many_journals_forgets_those_that_ended(
    copies: Copies,
) -> None:
    brief = LIMITS._replace(max_age=0.001)
    async with opened(copies.url, max_topics=4) as journals:
        first = await append(journals, "a")
        await copies.take()
        await append(journals, "b")
        for number in range(10):
            await append(journals, "c", topic=f"brief {number}", limits=brief)
            await asyncio.sleep(0.02)
            await journals.upkeep(lambda topic: LIMITS if topic == TOPIC else brief)
        assert len(vars(journals)["_told"]) == 4
        await copies.bring_back()
        # The one that goes on was not forgotten, though it was used before all others.
        await jumped(journals, "d")
        assert (await append(journals, "e")).journal == first.journal


async def test_no_sequence_stands_for_two_messages_where_redis_evicts_what_it_likes(
    start: Start,
) -> None:
    server = start(Redis(maxmemory_policy="allkeys-random"))
    given: dict[tuple[str, str | None, int], bytes] = {}
    async with opened(server.url, "a") as one, opened(server.url, "b") as other:
        memory = await one.memory()
        server.ask("CONFIG", "SET", "maxmemory", str(memory.used + (1 << 20)))
        for number in range(400):
            view = (one, other)[number % 2]
            topic, payload = f"t{number % 20}", b"%d" % number + b"x" * 10_000
            made = request(Entry([payload], id=str(number)), topic=topic)
            try:
                answer = await until_appended(view, made)
            except errors.StoreReplaced:
                # The identity went. The journals that are left go on.
                for each in (one, other):
                    await each.open()
                answer = await until_appended(view, made)
            place = topic, answer.journal, answer.placed[0].sequence
            assert given.setdefault(place, payload) == payload
            found = await read(view, topic=topic)
            for message in found.messages:
                assert given[topic, found.journal, message.sequence] == message.payload
        stats = server.ask("INFO", "stats")
    assert "evicted_keys:" in stats
    assert "evicted_keys:0" not in stats
    assert len({journal for _, journal, _ in given}) > 20


@pytest.mark.parametrize("seed", range(3))
async def test_no_sequence_stands_for_two_messages_whatever_happens(
    start: Start, seed: int
) -> None:
    """At random: two daemons, repeats, snapshots, kills, and keys that are lost."""
    chance = random.Random(seed)
    server = start(Redis())
    given: dict[tuple[str | None, int], bytes] = {}
    texts = itertools.count()
    async with contextlib.AsyncExitStack() as stack:
        views = [await stack.enter_async_context(opened(server.url, name)) for name in "ab"]
        last: dict[Journals, Append] = {}
        server.ask("SAVE")
        for _ in range(60):
            view = chance.choice(views)
            event = chance.choice(["append"] * 6 + ["repeat", "save", "kill", "lose"])
            if event == "save":
                server.ask("SAVE")
            elif event == "kill":
                server.kill()
                server.start()
                # One that was told nothing of what is lost.
                new = await stack.enter_async_context(opened(server.url, f"{next(texts)}"))
                views[chance.randrange(2)] = new
            elif event == "lose":
                server.ask("DEL", chance.choice([*PARTS.values()]))
            else:
                if event == "append" or view not in last:
                    last[view] = request(*(str(next(texts)) for _ in range(chance.randint(1, 3))))
                answer = await until_appended(view, last[view])
                for place, entry in zip(answer.placed, last[view].entries, strict=True):
                    number = answer.journal, place.sequence
                    assert given.setdefault(number, entry.payloads[0]) == entry.payloads[0]
        found = await read(views[0])
        for message in found.messages:
            assert given[found.journal, message.sequence] == message.payload
