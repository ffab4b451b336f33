# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The positions of a subscriber, where several things happen in one turn of the loop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from gearhorn.client.binding import Binding
from gearhorn.client.caller import Caller
from gearhorn.client.journal import places
from gearhorn.client.journal.positions import Positions
from gearhorn.client.parameters import PositionOptions
from gearhorn.messages import Subscription
from gearhorn.wire.connection import Connection
from gearhorn.wire.job import Job, Keeper

BINDING = Binding("t", "bob")
QUEUE = BINDING.queue.encode()


class Kept:
    """A position before the first message of a journal."""

    def __init__(self) -> None:
        self.data = places.encode([places.Place("a1")])

    def read(self, topic: str, client_id: str) -> bytes:
        return self.data

    def write(self, topic: str, client_id: str, data: bytes) -> None:
        self.data = data


def copy(sequence: int) -> Job:
    connection = cast(Connection, SimpleNamespace(connected=True, server=None))
    unique = b"j.a1.%d.1" % sequence
    return Job(cast(Keeper, None), connection, b"H:1", QUEUE, unique, b"", False)


async def test_a_message_that_ends_in_the_turn_in_which_its_topic_goes_off_shows_no_other() -> None:
    loop = asyncio.get_running_loop()
    kept = Kept()
    shown: list[Job] = []
    answered: asyncio.Queue[Job] = asyncio.Queue()
    returned: list[Job] = []
    failures: list[BaseException] = []
    left, served = asyncio.Event(), asyncio.Event()
    positions = Positions(
        PositionOptions(kept, None, 60.0, "fanout_read", "fanout_query"),
        cast(Caller, None),
        threaded=True,
        call_soon=loop.call_soon_threadsafe,
        hand_on=shown.extend,
        answer=lambda job, data: answered.put_nowait(job),
        give_back=returned.extend,
        held=lambda: 0,
        serve=lambda queue: served.set(),
        on_left=left.set,
        on_failed=failures.append,
    )
    positions.add(BINDING)
    answer = Subscription(topic="t", client_id="bob", queue=BINDING.queue, journal="a1", sequence=3)
    positions.registered(BINDING, answer)
    await served.wait()
    copies = [copy(sequence) for sequence in (1, 2, 3)]
    positions.take(copies)
    assert [job.unique for job in shown] == [copies[0].unique]

    # As off() and the end of a handler do from their threads, with no turn of the loop between.
    loop.call_soon_threadsafe(positions.remove, BINDING)
    positions.respond(shown[0], b"")

    assert await answered.get() is copies[0]
    assert [job.unique for job in shown] == [copies[0].unique]
    await left.wait()
    assert answered.empty()
    assert returned == copies[1:]
    assert places.decode(kept.data)[0].position == 1
    assert not positions.leaving
    await positions.close()
    assert failures == []
