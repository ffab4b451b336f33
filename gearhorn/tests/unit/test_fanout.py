# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The uniques of copies, and how fan-outs without a server wait."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from gearhorn import messages
from gearhorn.daemon.fanout import FanOuts
from gearhorn.daemon.metrics import Counts
from gearhorn.daemon.open_fanouts import OpenBounds
from gearhorn.daemon.recipients import Recipients
from gearhorn.daemon.refusals import Refusals
from gearhorn.tests.builders import encoded, message
from gearhorn.wire.address import Address
from gearhorn.wire.batch import AwaitedCopies, Batch, Copy
from gearhorn.wire.tally import Tally


class Lists:
    """A topic whose list is always at hand."""

    def __init__(self, subscribers: int) -> None:
        self._recipients = Recipients.of("t", [f"c{n}" for n in range(subscribers)], 0.0)

    def cached(self, topic: str) -> Recipients | None:
        return self._recipients


class ReadLists(Lists):
    """A topic whose list has to be read first."""

    read = False

    def cached(self, topic: str) -> Recipients | None:
        return self._recipients if self.read else None

    async def fetch(self, topic: str) -> tuple[Recipients, bool]:
        self.read = True
        return self._recipients, True


class Link:
    def __init__(self, token: bytes) -> None:
        self.token = token
        self.server = Address("one.example", 4730)


class Outbox:
    """Keeps the batches instead of sending them."""

    def __init__(self) -> None:
        self.servers: dict[Address, Link] = {}
        self.batches: list[Batch] = []
        self.heard_at = 0.0

    def connect(self, token: bytes = b"cafe") -> None:
        link = Link(token)
        self.servers[link.server] = link

    def submit(self, connection: Link, batch: Batch) -> None:
        self.batches.append(batch)


class Job:
    """A job as a server assigns it."""

    def __init__(
        self, data: bytes, unique: bytes = b"", handle: bytes = b"H:1", host: str = "one.example"
    ) -> None:
        self.data = data
        self.unique = unique
        self.handle = handle
        self.connection = Link(b"")
        self.connection.server = Address(host, 4730)
        self.function = b"fanout"
        self.oversize = False
        self.taken = 0.0
        self._on_abandoned: Any = None
        self.answers: list[tuple[str, Any]] = []
        self.answered = asyncio.Event()

    def hold(self, on_abandoned: Callable[[], object]) -> None:
        self._on_abandoned = on_abandoned

    def lose(self) -> None:
        """The connection is lost."""
        self._on_abandoned()

    def set_aside(self) -> None:
        """Nobody counts the window."""

    def let_go(self) -> None:
        self._on_abandoned = None

    def complete(self, data: bytes) -> None:
        self.answers.append(("complete", json.loads(data)))
        self.answered.set()

    def fail(self, data: bytes) -> None:
        self.answers.append(("fail", json.loads(data)))
        self.answered.set()


def fan_outs(
    outbox: Outbox, subscribers: int, generate_unique: bool = True, **options: Any
) -> FanOuts:
    lists: Any = Lists(subscribers)
    submitter: Any = outbox
    return FanOuts(
        lists,
        submitter,
        Refusals(options.get("counts")),
        order="receiver",
        timeout=60.0,
        generate_unique=generate_unique,
        max_message_bytes=1 << 20,
        **options,
    )


def copies_of(
    job: Job, subscribers: int = 1, generate_unique: bool = True, token: bytes = b"cafe"
) -> dict[bytes, bytes]:
    """The unique of each queue's copy, as a daemon that was just started gives it."""
    outbox = Outbox()
    outbox.connect(token)
    taken: Any = job
    fan_outs(outbox, subscribers, generate_unique).take(taken)
    (batch,) = outbox.batches
    parts: list[bytes] = []
    batch.pack(0, subscribers, parts)
    return dict(zip(parts[1::4], (part.strip(b"\0") for part in parts[2::4]), strict=True))


def uniques_of(
    job: Job, subscribers: int = 1, generate_unique: bool = True, token: bytes = b"cafe"
) -> list[bytes]:
    """The unique of each copy."""
    return list(copies_of(job, subscribers, generate_unique, token).values())


def request(**keys: Any) -> bytes:
    return encoded({**message("t", "p", background=True), **keys})


def test_about_500_copies_share_a_generated_unique() -> None:
    assert len(set(uniques_of(Job(request()), 500))) == 1
    found = uniques_of(Job(request()), 3000)
    assert len(found) == 3000
    assert len(set(found)) == 8
    assert max(map(found.count, set(found))) < 700
    # Never "-", never empty, never too long.
    assert all(3 < len(unique) <= 48 for unique in found)


def test_a_second_run_of_a_job_gives_each_copy_the_same_unique() -> None:
    first = copies_of(Job(request(), b"once"), 1200)
    assert copies_of(Job(request(), b"once"), 1200) == first
    # A subscriber more or less changes no other's.
    assert copies_of(Job(request(), b"once"), 1201).items() > first.items()


@pytest.mark.parametrize(
    "other",
    [
        Job(request(), b"twice"),
        Job(request(), b"once", b"H:2"),
        Job(request(), b"once", host="two.example"),
        Job(request(payload="q"), b"once"),
        Job(request()),
    ],
    ids=["unique", "handle", "server", "content", "none"],
)
def test_another_job_gives_another(other: Job) -> None:
    assert uniques_of(Job(request(), b"once")) != uniques_of(other)


def test_a_job_without_a_unique_gives_another_each_time() -> None:
    outbox = Outbox()
    outbox.connect()
    takes = fan_outs(outbox, 1)
    for _ in range(3):
        job: Any = Job(request())
        takes.take(job)
    packets: list[bytes] = []
    for batch in outbox.batches:
        batch.pack(0, 1, packets)
    assert len(set(packets[2::4])) == 3
    assert uniques_of(Job(request())) != uniques_of(Job(request()))


def test_a_given_unique_is_everybodys() -> None:
    assert set(uniques_of(Job(request(unique="news")), 1200)) == {b"news"}


def test_no_unique_is_generated_where_it_is_turned_off() -> None:
    assert set(uniques_of(Job(request(), b"once"), 1200, generate_unique=False)) == {b""}
    assert uniques_of(Job(request(unique="news")), generate_unique=False) == [b"news"]


async def test_a_foreground_copy_has_one_only_where_something_can_join_it() -> None:
    assert uniques_of(Job(request(background=False))) == [b""]
    (unique,) = uniques_of(Job(request(background=False), b"once"))
    assert unique.endswith(b"-0-cafe")


async def test_a_foreground_copy_never_shares_one_with_another_connection() -> None:
    for job in (Job(request(background=False, unique="news")), Job(request(background=0), b"once")):
        (first,), (again,), (other,) = (
            uniques_of(job, token=token) for token in (b"cafe", b"cafe", b"babe")
        )
        assert first == again != other
        assert first.endswith(b"-cafe")
        assert other.endswith(b"-babe")
        assert len(first) < 64
    longest = uniques_of(Job(request(background=False, unique="u" * 48)), token=b"0123abcd")
    assert len(longest[0]) < 64
    assert uniques_of(Job(request(background=False), b"once"), generate_unique=False) == [b""]


def test_a_fan_out_waits_for_a_job_server(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outbox = Outbox()
    takes = fan_outs(outbox, 3)
    jobs = [Job(request()), Job(request())]
    for job in jobs:
        taken: Any = job
        takes.take(taken)
    assert not outbox.batches
    assert caplog.text.count("no job server is connected") == 1

    outbox.connect()
    takes.servers_changed()
    assert [len(batch.queues) for batch in outbox.batches] == [3, 3]
    assert "fan-outs go on" in caplog.text
    assert not any(job.answers for job in jobs)

    # The server goes, with one copy queued and two not.
    (first, second) = outbox.batches
    outbox.batches.clear()
    outbox.servers.clear()
    first.created = 1
    first.listener.batch_lost(first)
    assert not outbox.batches
    outbox.connect()
    takes.servers_changed()
    (rest,) = outbox.batches
    assert list(rest.keys) == ["c1", "c2"]
    rest.listener.batch_created(rest)
    second.listener.batch_created(second)
    report = messages.FanOutReport(topic="t", subscribers=3, queued=3).encode()
    assert [job.answers for job in jobs] == [[("complete", json.loads(report))]] * 2


async def test_others_have_their_turns_while_a_long_list_is_divided_among_servers() -> None:
    outbox = Outbox()
    outbox.connect()
    outbox.servers[Address("two.example", 4730)] = Link(b"beef")
    fanouts: Any = fan_outs(outbox, 0)
    fanouts._lists = ReadLists(10_000)
    job: Any = Job(request())
    fanouts.take(job)
    turns = 0
    while not outbox.batches:
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    assert sum(len(batch.queues) for batch in outbox.batches) == 10_000


async def test_nothing_holds_the_payload_of_a_fan_out_whose_time_was_up() -> None:
    outbox = Outbox()
    outbox.connect()
    fanouts = fan_outs(outbox, 1)
    job: Any = Job(request(payload="a payload", background=False, timeout=0.01))
    gc.disable()
    try:
        fanouts.take(job)
        batch = outbox.batches.pop()
        payload = batch.payload
        awaited = AwaitedCopies()
        copy = Copy(batch, batch.keys[0], b"H:1", awaited)
        awaited.add(copy)
        batch.listener.copy_created(copy)
        batch.written = 1
        batch.listener.batch_written(batch)
        await asyncio.wait_for(job.answered.wait(), 10)
        del batch, copy
        job.let_go()
        assert sys.getrefcount(payload) == 2
    finally:
        gc.enable()


def test_copies_that_a_lost_server_had_not_queued_are_counted_as_sent_elsewhere() -> None:
    outbox = Outbox()
    outbox.connect()
    job: Any = Job(request())
    fan_outs(outbox, 3).take(job)
    (batch,) = outbox.batches
    batch.tally = tally = Tally()
    batch.created = 1

    batch.listener.batch_lost(batch)

    assert (tally.queued, tally.resubmitted) == ([1, 0], 2)
    assert len(outbox.batches[1].queues) == 2


async def test_one_that_is_lost_before_its_turn_is_abandoned_and_one_without_room_refused() -> None:
    outbox, counts = Outbox(), Counts()
    outbox.connect()
    all_of_it = fan_outs(outbox, 2, counts=counts, bounds=OpenBounds(fanouts=4, out=1))
    jobs: list[Any] = [Job(request(background=False), str(n).encode()) for n in range(3)]
    for job in jobs:
        all_of_it.take(job)

    assert (all_of_it.open, all_of_it.copies_open) == (2, 4)
    assert all_of_it.waiting() == {"list": 0, "job_server": 0, "turn": 1}
    jobs[1].lose()
    assert all_of_it.waiting()["turn"] == 0

    ended = counts.fanouts[True]
    assert (counts.foreground_taken, ended.abandoned, sum(ended.sizes)) == (2, 1, 0)
    assert counts.requests == {("", "too_many_open"): 1}


def test_copies_for_full_queues_fail_and_are_counted_by_their_reason() -> None:
    outbox, counts = Outbox(), Counts()
    outbox.connect()

    def admit(recipients: Recipients, size: int) -> Recipients:
        return recipients.without(recipients.whole.queues[:2])

    job: Any = Job(request())
    fan_outs(outbox, 3, counts=counts, admit=admit).take(job)
    (batch,) = outbox.batches
    batch.created = 1
    batch.listener.batch_created(batch)

    ended = counts.fanouts[False]
    assert (ended.partial, ended.arrived, ended.reasons) == (1, 1, {"queue_full": 2})
    # What is not sent has no bytes.
    assert (counts.payload_bytes, counts.copied_bytes) == (1, 1)


# Several messages in one request.


def request_of(*payloads: str, **keys: Any) -> bytes:
    return encoded({"topic": "t", "payloads": payloads, "background": True, **keys})


def sent(outbox: Outbox) -> list[tuple[bytes, bytes]]:
    """Queue and payload of every copy that is not sent yet, as all servers get them."""
    found = []
    for batch in outbox.batches:
        parts: list[bytes] = []
        batch.pack(batch.created, batch.count, parts)
        found += list(zip(parts[1::4], parts[3::4], strict=True))
    return found


def create(batch: Batch, copies: int) -> None:
    """The server has queued so many more."""
    batch.created += copies
    if batch.created == batch.count:
        batch.listener.batch_created(batch)


def test_messages_of_a_series_wait_for_a_server_and_are_sent_in_order() -> None:
    outbox = Outbox()
    outs = fan_outs(outbox, 2)
    job: Any = Job(request_of("one", "two"))
    outs.take(job)
    assert outs.waiting()["job_server"] == 1
    outbox.connect()
    outs.servers_changed()

    assert sent(outbox) == [
        (b"t_c0", b"one"),
        (b"t_c1", b"one"),
        (b"t_c0", b"two"),
        (b"t_c1", b"two"),
    ]
    (batch,) = outbox.batches
    create(batch, 4)
    assert job.answers == [
        (
            "complete",
            {"topic": "t", "messages": 2, "subscribers": 2, "queued": 4, "failed": {}},
        )
    ]


@pytest.mark.parametrize("created", [0, 1, 2, 3, 5])
def test_what_a_lost_server_had_not_queued_is_sent_again(created: int) -> None:
    outbox = Outbox()
    outbox.connect()
    job: Any = Job(request_of("one", "two", "three"))
    fan_outs(outbox, 2).take(job)
    before = sent(outbox)
    (batch,) = outbox.batches
    outbox.batches.clear()
    batch.created = created
    batch.listener.batch_lost(batch)

    assert sent(outbox) == before[created:]
    for again in outbox.batches:
        create(again, again.count)
    assert job.answers[0][1]["queued"] == 6


def test_a_second_run_of_a_series_gives_each_copy_the_same_unique() -> None:
    def uniques() -> list[bytes]:
        outbox = Outbox()
        outbox.connect()
        job: Any = Job(request_of("one", "two", "one"), b"once")
        fan_outs(outbox, 2).take(job)
        parts: list[bytes] = []
        outbox.batches[0].pack(0, 6, parts)
        return parts[2::4]

    assert uniques() == uniques()
    assert len(set(uniques())) == 3


def test_a_queue_that_fills_up_on_the_way_misses_the_rest_of_a_series() -> None:
    outbox = Outbox()
    outbox.connect()
    counts = Counts()
    admitted = 0
    without: list[Recipients] = []

    def admit(recipients: Recipients, size: int) -> Recipients:
        nonlocal admitted
        admitted += 1
        if admitted <= 2:
            return recipients
        if not without:
            without.append(recipients.without([b"t_c0"]))
        return without[0]

    job: Any = Job(request_of("1", "2", "3", "4"))
    fan_outs(outbox, 2, admit=admit, counts=counts).take(job)
    assert sent(outbox) == [
        (b"t_c0", b"1"),
        (b"t_c1", b"1"),
        (b"t_c0", b"2"),
        (b"t_c1", b"2"),
        (b"t_c1", b"3"),
        (b"t_c1", b"4"),
    ]
    first, second = outbox.batches
    # And the server refuses one more.
    first.listener.copy_refused(first, 3, full=False)
    first.refused += 1
    create(first, 4)
    create(second, 2)
    assert job.answers == [
        (
            "fail",
            {
                "topic": "t",
                "messages": 4,
                "subscribers": 2,
                "queued": 5,
                "failed": {"c0": "queue_full", "c1": "not_queued"},
                "failed_count": 3,
                "failures": [[2, 3, "c0", "queue_full"], [1, 1, "c1", "not_queued"]],
            },
        )
    ]
    assert counts.fanouts[0].reasons == {"queue_full": 2, "not_queued": 1}


def test_a_series_that_is_abandoned_sends_nothing_more() -> None:
    outbox = Outbox()
    outs = fan_outs(outbox, 2)
    job = Job(request_of("one", "two"))
    taken: Any = job
    outs.take(taken)
    job.lose()
    outbox.connect()
    outs.servers_changed()
    assert outbox.batches == []
    assert job.answers == []


def test_of_a_long_series_a_thousand_go_out_at_a_time_and_nothing_comes_between() -> None:
    async def run() -> None:
        outbox = Outbox()
        outbox.connect()
        admitted: list[int] = []

        def admit(recipients: Recipients, size: int) -> Recipients:
            admitted.append(size)
            return recipients

        outs = fan_outs(outbox, 1, admit=admit)
        long: Any = Job(request_of(*map(str, range(2500))))
        later: Any = Job(request(payload="later"))
        outs.take(long)
        outs.take(later)
        for expected in (1000, 2000, 2500):
            assert len(admitted) == expected
            (batch,) = outbox.batches
            outbox.batches.clear()
            create(batch, batch.count)
        assert long.answers[0][1]["queued"] == 2500
        assert later.answers == []
        # It starts in the next turn of the loop.
        await asyncio.sleep(0)
        (batch,) = outbox.batches
        assert batch.payload == b"later"
        create(batch, 1)
        assert later.answers[0][1]["queued"] == 1
        assert outs.waiting() == {"list": 0, "job_server": 0, "turn": 0}

    asyncio.run(run())
