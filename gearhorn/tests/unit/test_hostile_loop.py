# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The loop against a plain model, with packets, losses, lists and time in any order.

The real fan-outs, deliveries, submitter, grabber, cache and connections run on a loop whose time
the test moves, beside two job servers and a store that the test plays. Whatever they do:

* each job is answered once, on the connection that it came on, unless that was lost;
* a report says of each receiver what the servers know of its copy;
* a list that was dropped, or is too old, serves no job that was taken later;
* the copies in a queue keep the order of their jobs, but for those that a loss moved;
* at the end nothing is left over anywhere.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any, ClassVar, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gearhorn import clock, errors
from gearhorn.daemon.fanout import FanOuts, Order
from gearhorn.daemon.list_cache import ListCache
from gearhorn.daemon.refusals import guarded
from gearhorn.store.base import Members, Store
from gearhorn.store.patience import Patience
from gearhorn.tests import packets as wire
from gearhorn.tests.unit import model_fuzz as fuzz
from gearhorn.tests.unit.model_servers import FakeServer, FakeTransport, Submission, VirtualLoop
from gearhorn.wire.address import Address
from gearhorn.wire.connection import ConnectionSettings
from gearhorn.wire.grabber import Grabber
from gearhorn.wire.submitter import Submitter
from gearhorn.wire.watch import Watch

WINDOW = 8
CACHE_TTL = 10.0
TIMEOUT = 20.0
TOPICS = ("one", "two")
REFUSED = [b"", b"\xff", b"[", b'{"topic": "one"}', b'{"topic": "\\u0000", "payload": 1}', b"[]"]

pick = st.integers(0, 1 << 16)


class Version:
    """The subscribers of a topic from one change to the next."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.client_ids = [f"{number}.{index}" for index in range(size)]
        """They tell the version apart."""
        self.until = math.inf
        """When the next change was made."""


class PlayedTopic:
    """A topic in the store that the test plays."""

    def __init__(self) -> None:
        self.versions = [Version(0, 2)]
        self.oldest = 0
        """No older version may serve a job that is taken from now on."""

    @property
    def newest(self) -> int:
        return len(self.versions) - 1


class Read:
    """A question to the store that is not answered."""

    def __init__(self, topic: str, version: int, answer: asyncio.Future[Members]) -> None:
        self.topic = topic
        self.version = version
        self.answer = answer


class PlayedStore:
    """The store, as far as fan-outs ask it."""

    def __init__(self) -> None:
        self.topics = {name: PlayedTopic() for name in TOPICS}
        self.reads: list[Read] = []

    async def members(self, topic: str, reader: str) -> Members:
        answer: asyncio.Future[Members] = asyncio.get_running_loop().create_future()
        self.reads.append(Read(topic, self.topics[topic].newest, answer))
        return await answer


class PlayedJob:
    """A fan-out job that a server assigned, and what it knows of its copies."""

    def __init__(self, connection: FakeTransport, number: int, keys: dict[str, Any]) -> None:
        self.connection = connection
        self.number = number
        self.handle = b"H:job:%d" % number
        self.keys = keys
        self.topic: str | None = keys.get("topic")
        self.foreground = not keys.get("background")
        self.taken = 0.0
        self.oldest = 0
        self.first_sent = math.inf
        self.moved = False
        """A server was lost that had one of its copies."""
        self.latest: dict[str, Submission] = {}
        """The last copy that was sent, for each receiver."""
        self.outcome: dict[str, str] = {}
        """What became of a copy where that is certain: ok, or why not."""
        self.results: dict[str, str] = {}
        self.warning: bytes | None = None
        self.over = False


class LoopMachine(RuleBasedStateMachine):
    """Plays the job servers and the store."""

    order: ClassVar[Order] = "receiver"

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(clock, "now", self.loop.time)
        self.numbers = 0
        self.jobs: list[PlayedJob] = []
        self.store = PlayedStore()
        self.servers = [
            FakeServer(
                self.loop,
                port,
                on_submitted=self.submitted,
                on_answer=self.answered,
                on_closed=self.closed,
            )
            for port in (1, 2)
        ]
        self.copies: dict[str, list[Submission]] = {}
        """Queued in the foreground and not answered, by connection and handle."""
        self.last_sent: dict[tuple[int, bytes], int] = {}
        self.loop.run_until_complete(self.start())
        self.loop.settle()

    async def start(self) -> None:
        settings = ConnectionSettings(
            liveness_interval=8.0, liveness_timeout=4.0, reconnect_max=2.0
        )
        watch = Watch()
        self.submitter = Submitter("client", settings, 1 << 20, watch)
        self.grabber = Grabber("worker", settings, 1 << 20, watch, WINDOW, 1 << 20)
        self.lists = ListCache(
            cast(Store, self.store),
            Patience(),
            worker_id="worker",
            uncached_topic="__matchmaking",
            cache_ttl=CACHE_TTL,
            max_topics=10,
        )
        self.lists.keep_until(math.inf)
        self.fanouts = FanOuts(
            self.lists,
            self.submitter,
            order=self.order,
            timeout=TIMEOUT,
            generate_unique=True,
            max_message_bytes=1 << 20,
        )
        self.submitter.on_servers_changed = self.fanouts.servers_changed
        self.grabber.add_function("fanout", guarded(self.fanouts.take))
        addresses = [Address("played", server.port) for server in self.servers]
        self.submitter.connect(addresses)
        self.grabber.connect(addresses)

    # What the servers see.

    def submitted(self, copy: Submission) -> None:
        number, _, text = copy.payload.partition(b":")
        job = self.jobs[int(number)]
        topic, client_id = copy.queue.decode().split("_", 1)
        assert text == b"payload"
        assert topic == job.topic
        assert copy.foreground == job.foreground
        assert not job.over, "a copy is sent of a job that has ended"
        assert job.connection.open, "a copy is sent of a job that was lost"
        assert client_id not in job.outcome
        before = job.latest.get(client_id)
        assert before is None or (not before.connection.open and not before.handle)
        job.latest[client_id] = copy
        job.first_sent = min(job.first_sent, self.loop.now)
        if self.order == "topic":
            others = (other for other in self.jobs if other.topic == topic and other is not job)
            assert not any(other.latest and self.is_held(other) for other in others)
        where = (copy.connection.server.port, copy.queue)
        if not job.moved:
            assert self.last_sent.get(where, -1) < job.number, "out of order"
            self.last_sent[where] = job.number

    def answered(self, connection: FakeTransport, packet: wire.Packet) -> None:
        jobs = [job for job in self.jobs if job.handle == packet.handle]
        assert len(jobs) == 1, "an answer to no job"
        job = jobs[0]
        assert job.connection is connection
        assert not job.over, "a second answer"
        if packet.type == wire.WORK_STATUS:
            done, total = map(int, packet.body.split(b"\0")[1:])
            assert 0 <= done < total
            assert job.foreground
        elif packet.type == wire.WORK_WARNING:
            assert job.warning is None
            job.warning = packet.body.split(b"\0", 1)[1]
        else:
            job.over = True
            completed = packet.type == wire.WORK_COMPLETE
            data = packet.body.split(b"\0", 1)[1] if completed else job.warning
            assert data is not None
            assert completed == (job.warning is None)
            self.check_report(job, json.loads(data), completed)

    def check_report(self, job: PlayedJob, report: dict[str, Any], completed: bool) -> None:
        if job.topic is None:
            assert report.keys() == {"error", "message"}
            assert not completed
            assert not job.latest
            return
        played = self.store.topics[job.topic]
        # Which list it was sent to.
        usable = [
            version
            for version in played.versions[job.oldest :]
            if job.taken < version.until + CACHE_TTL
            and set(version.client_ids) == job.latest.keys()
        ]
        assert usable, f"not a list that may be used: {list(job.latest)}"
        total = report["subscribers"]
        assert total == len(job.latest)
        failed = report["failed"]
        assert report.get("failed_count", 0) == len(failed)
        assert report["delivered" if job.foreground else "queued"] == total - len(failed)
        for client_id in job.latest:
            expected = job.outcome.get(client_id)
            if expected is None:
                # Nobody has answered: the time must be up.
                assert failed.get(client_id) == "timeout"
                assert job.foreground
                # The time runs from the turn of the loop in which they were written.
                assert self.loop.now >= job.first_sent + TIMEOUT - 0.001
            else:
                assert failed.get(client_id, "ok") == expected
        if job.keys.get("gather"):
            sound = {c for c in job.latest if c not in failed}
            assert report["results"] == {c: job.results.get(c, "") for c in sound}
        else:
            assert "results" not in report
        assert completed == (not failed or bool(job.keys.get("always_report")))

    def closed(self, connection: FakeTransport) -> None:
        for job in self.jobs:
            for client_id, copy in job.latest.items():
                if copy.connection is connection and client_id not in job.outcome:
                    job.moved = True
                    if copy.handle:
                        job.outcome[client_id] = "server_lost"
        for handle in [h for h, c in self.copies.items() if c[0].connection is connection]:
            del self.copies[handle]

    def is_held(self, job: PlayedJob) -> bool:
        return not job.over and job.connection.open

    # What can happen.

    def grabbing(self) -> list[FakeTransport]:
        every = (c for server in self.servers for c in server.connections)
        return [c for c in every if c.grabs and b"fanout" in c.functions]

    def submitting(self) -> list[FakeTransport]:
        return [c for server in self.servers for c in server.connections if c.submissions]

    def assign(self, which: int, data: bytes, keys: dict[str, Any], unique: bytes) -> None:
        connections = self.grabbing()
        connection = connections[which % len(connections)]
        job = PlayedJob(connection, len(self.jobs), keys)
        if job.topic is not None:
            job.oldest = self.store.topics[job.topic].oldest
        job.taken = self.loop.time()
        self.jobs.append(job)
        connection.grabs -= 1
        connection.send(wire.JOB_ASSIGN_UNIQ, job.handle, b"fanout", unique, data)

    @precondition(lambda self: self.grabbing())
    @rule(
        which=pick,
        count=st.integers(1, 3),
        topic=st.sampled_from(TOPICS),
        background=st.booleans(),
        gather=st.booleans(),
        always_report=st.booleans(),
        unique=st.sampled_from([None, None, "same"]),
        outer=st.sampled_from([b"", b"outer"]),
    )
    def assign_fan_outs(
        self,
        which: int,
        count: int,
        topic: str,
        background: bool,
        gather: bool,
        always_report: bool,
        unique: str | None,
        outer: bytes,
    ) -> None:
        for _ in range(count):
            if not self.grabbing():
                return
            keys = {
                "topic": topic,
                "payload": f"{len(self.jobs)}:payload",
                "background": background,
                "gather": gather and not background,
                "always_report": always_report,
                "unique": unique,
            }
            self.assign(which, json.dumps(keys).encode(), keys, outer)
        self.loop.settle()

    @precondition(lambda self: self.grabbing())
    @rule(which=pick, data=st.sampled_from(REFUSED))
    def assign_what_is_refused(self, which: int, data: bytes) -> None:
        self.assign(which, data, {}, b"")
        self.loop.settle()

    @precondition(lambda self: self.grabbing())
    @rule(which=pick)
    def have_no_job(self, which: int) -> None:
        connections = self.grabbing()
        connection = connections[which % len(connections)]
        connection.grabs -= 1
        connection.send(wire.NO_JOB)
        self.loop.settle()

    @rule(which=pick)
    def wake(self, which: int) -> None:
        for connection in list(self.servers[which % 2].connections):
            connection.send(wire.NOOP)
        self.loop.settle()

    @precondition(lambda self: self.submitting())
    @rule(which=pick, answers=st.lists(st.booleans(), min_size=1, max_size=6))
    def answer_submissions(self, which: int, answers: list[bool]) -> None:
        connections = self.submitting()
        connection = connections[which % len(connections)]
        for queues in answers:
            if not connection.submissions:
                break
            copy = connection.submissions.popleft()
            if queues:
                self.queue(copy)
            else:
                self.settle_copy(copy, "not_queued")
                connection.send(wire.ERROR, b"queue_full", b"no room")
        self.loop.settle()

    def queue(self, copy: Submission) -> None:
        self.numbers += 1
        copy.handle = b"H:copy:%d" % self.numbers
        if copy.foreground:
            for handle, others in self.copies.items():
                first = others[0]
                if copy.unique and (first.connection, first.queue, first.unique) == (
                    copy.connection,
                    copy.queue,
                    copy.unique,
                ):
                    # Coalesced: one handle, and each packet once for each.
                    copy.handle = handle.encode()
                    others.append(copy)
                    break
            else:
                self.copies[copy.handle.decode()] = [copy]
        else:
            self.settle_copy(copy, "ok")
        copy.connection.send(wire.JOB_CREATED, copy.handle)

    def settle_copy(self, copy: Submission, outcome: str) -> None:
        job = self.jobs[int(copy.payload.partition(b":")[0])]
        if self.is_held(job):
            job.outcome[copy.queue.decode().split("_", 1)[1]] = outcome

    @precondition(lambda self: self.copies)
    @rule(
        which=pick,
        packet_type=st.sampled_from(
            [
                wire.WORK_COMPLETE,
                wire.WORK_COMPLETE,
                wire.WORK_FAIL,
                wire.WORK_EXCEPTION,
                wire.WORK_DATA,
                wire.WORK_STATUS,
                wire.WORK_WARNING,
            ]
        ),
        data=st.sampled_from([b"", b"x", b"a\0b", b"result"]),
    )
    def answer_copies(self, which: int, packet_type: int, data: bytes) -> None:
        handle = list(self.copies)[which % len(self.copies)]
        copies = self.copies[handle]
        carries = packet_type in (wire.WORK_COMPLETE, wire.WORK_DATA)
        for copy in copies:
            job = self.jobs[int(copy.payload.partition(b":")[0])]
            client_id = copy.queue.decode().split("_", 1)[1]
            if carries and self.is_held(job):
                job.results[client_id] = job.results.get(client_id, "") + data.decode()
        outcome = {
            wire.WORK_COMPLETE: "ok",
            wire.WORK_FAIL: "receiver_failed",
            wire.WORK_EXCEPTION: "receiver_exception",
        }.get(packet_type)
        if outcome is not None:
            del self.copies[handle]
            for copy in copies:
                self.settle_copy(copy, outcome)
        arguments = [] if packet_type == wire.WORK_FAIL else [data]
        for copy in copies:
            copy.connection.send(packet_type, handle.encode(), *arguments)
        self.loop.settle()

    @rule(
        which=pick,
        packet_type=st.sampled_from([*range(45), 1 << 31]),
        body=st.sampled_from([b"", b"\0", b"H:nobody:1", b"H:nobody:1\0x", b"H:copy:1\0\0\0"]),
    )
    def send_what_nobody_asked_for(self, which: int, packet_type: int, body: bytes) -> None:
        connections = [c for server in self.servers for c in server.connections]
        if not connections:
            return
        connection = connections[which % len(connections)]
        handle = body.partition(b"\0")[0].decode()
        asked = (
            handle in self.copies
            or (packet_type == wire.NO_JOB and connection.grabs)
            or (packet_type in (wire.JOB_CREATED, wire.ERROR) and connection.submissions)
        )
        if not asked:
            connection.send(packet_type, body)
            self.loop.settle()
            if packet_type in (wire.NO_JOB, wire.JOB_ASSIGN_UNIQ):
                assert not (connection.open and connection.has_grabbed)

    @rule(which=pick, data=st.sampled_from([b"\0REQ" + bytes(8), b"HTTP/1.1 200 OK\r\n\r\n"]))
    def send_garbage(self, which: int, data: bytes) -> None:
        connections = [c for server in self.servers for c in server.connections]
        if connections:
            connection = connections[which % len(connections)]
            connection.send_raw(data)
            self.loop.settle()
            assert not connection.open

    @rule(which=pick, everything=st.booleans(), stays_up=st.booleans())
    def lose_connections(self, which: int, everything: bool, stays_up: bool) -> None:
        server = self.servers[which % 2]
        server.up = stays_up
        connections = list(server.connections)
        for connection in connections if everything else connections[which % 3 :][:1]:
            connection.close()
        self.loop.settle()

    @rule(which=pick, up=st.booleans(), responsive=st.booleans())
    def change_server(self, which: int, up: bool, responsive: bool) -> None:
        server = self.servers[which % 2]
        server.up = up or which % 3 > 0
        server.responsive = responsive or which % 5 > 0
        self.loop.settle()

    @rule(topic=st.sampled_from(TOPICS), size=st.sampled_from([0, 1, 2, 3, 40]), told=st.booleans())
    def change_subscribers(self, topic: str, size: int, told: bool) -> None:
        played = self.store.topics[topic]
        played.versions[-1].until = self.loop.time()
        played.versions.append(Version(len(played.versions), size))
        if told:
            self.tell(topic)

    @rule(topic=st.sampled_from(TOPICS))
    def tell(self, topic: str) -> None:
        """A notice comes."""
        played = self.store.topics[topic]
        played.oldest = played.newest
        self.lists.drop(topic)

    @rule()
    def drop_all(self) -> None:
        for played in self.store.topics.values():
            played.oldest = played.newest
        self.lists.keep_none()
        self.lists.keep_until(math.inf)

    @precondition(lambda self: self.store.reads)
    @rule(which=pick, later=pick, known=st.booleans(), fails=st.booleans())
    def answer_read(self, which: int, later: int, known: bool, fails: bool) -> None:
        read = self.store.reads.pop(which % len(self.store.reads))
        if fails and which % 2:
            read.answer.set_exception(errors.StoreAway("played"))
        else:
            versions = self.store.topics[read.topic].versions[read.version :]
            version = versions[later % len(versions)]
            read.answer.set_result(Members(version.client_ids, known))
        self.loop.settle()

    @precondition(lambda self: self.store.reads)
    @rule(which=pick, size=st.sampled_from([0, 2]), takes=st.booleans())
    def overtake_read(self, which: int, size: int, takes: bool) -> None:
        """A list changes, and a notice of it comes before the list as it was."""
        read = self.store.reads.pop(which % len(self.store.reads))
        self.change_subscribers(read.topic, size, True)
        if takes:
            self.assign_plainly(which, read.topic)
        version = self.store.topics[read.topic].versions[read.version]
        read.answer.set_result(Members(version.client_ids, True))
        self.loop.settle()
        self.assign_plainly(which, read.topic)

    @precondition(lambda self: self.lists._lists)
    @rule(which=pick, size=st.sampled_from([0, 2]))
    def outlive_list(self, which: int, size: int) -> None:
        """A list changes, no notice comes, and time passes."""
        topics = list(self.lists._lists)
        topic = topics[which % len(topics)]
        self.change_subscribers(topic, size, False)
        self.loop.advance(CACHE_TTL)
        self.assign_plainly(which, topic)

    def assign_plainly(self, which: int, topic: str) -> None:
        if self.grabbing():
            keys = {"topic": topic, "payload": f"{len(self.jobs)}:payload", "background": True}
            self.assign(which, json.dumps(keys).encode(), keys, b"")
            self.loop.settle()

    @precondition(lambda self: self.grabbing())
    @rule(which=pick, assigns=st.booleans())
    def answer_what_was_not_asked(self, which: int, assigns: bool) -> None:
        connections = self.grabbing()
        connection = connections[which % len(connections)]
        while connection.grabs:
            connection.grabs -= 1
            connection.send(wire.NO_JOB)
        sound = connection.open
        assert sound
        if assigns:
            data = b'{"topic": "one", "payload": 1, "background": true}'
            connection.send(wire.JOB_ASSIGN_UNIQ, b"H:unasked", b"fanout", b"", data)
        else:
            connection.send(wire.NO_JOB)
        assert not connection.open
        self.loop.settle()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 6.0, 11.0, 21.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)

    # What always holds.

    @invariant()
    def counts_are_right(self) -> None:
        assert not self.errors, self.errors
        grabber = self.grabber
        grabs = grabber._grabs.values()
        window = grabber._window
        assert window.held == sum(len(g.held) for g in grabs)
        assert window.asked == sum(g.outstanding for g in grabs)
        assert window._bytes == sum(len(job.data) for g in grabs for job in g.held)
        assert window.held + window.asked <= WINDOW
        assert all(g.outstanding >= 0 for g in grabs)
        assert grabber.held == sum(map(self.is_held, self.jobs))
        for outbox in self.submitter._outboxes.values():
            assert outbox.block is None or outbox.block.unanswered >= 0

    def everything_ends(self) -> None:
        """Servers and the store do what they should; then nothing may be left."""
        for server in self.servers:
            server.up = server.responsive = True
        for _ in range(200):
            if not any(map(self.is_held, self.jobs)):
                break
            for read in self.store.reads:
                played = self.store.topics[read.topic]
                read.answer.set_result(Members(played.versions[-1].client_ids, True))
            self.store.reads.clear()
            for connection in self.submitting():
                while connection.submissions:
                    self.queue(connection.submissions.popleft())
            self.loop.settle()
            self.loop.advance(1.0)
        assert not any(map(self.is_held, self.jobs)), "a job is never answered"
        self.loop.advance(1.0)
        # Reads of jobs that were lost may still be waited for.
        for _ in range(5):
            for read in self.store.reads:
                read.answer.set_result(Members([], True))
            self.store.reads.clear()
            self.loop.advance(3.0)
        for connection in self.submitting():
            while connection.submissions:
                self.queue(connection.submissions.popleft())
            self.loop.settle()
        self.loop.advance(1.0)
        assert not self.fanouts._lanes
        assert not self.fanouts._foreground
        assert not self.fanouts._stuck_deliveries
        assert not self.fanouts._tasks._running
        assert not self.lists._reads
        assert self.fanouts._context.room.free == 4 << 20
        assert not self.grabber.held
        for outbox in self.submitter._outboxes.values():
            assert not outbox.lanes
            assert outbox.block is None
            assert not outbox.awaited.by_handle
            assert not outbox.awaited._twins
        assert not self.errors, self.errors

    def teardown(self) -> None:
        try:
            if not self.errors:
                self.everything_ends()
        finally:

            async def close() -> None:
                await self.fanouts.close()
                await self.grabber.close()
                await self.submitter.close()

            self.loop.run_until_complete(close())
            self.loop.settle()
            self.loop.close()
            self.patch.undo()


class TopicOrderMachine(LoopMachine):
    """With ``order = topic``."""

    order = "topic"


@pytest.mark.parametrize("machine", [LoopMachine, TopicOrderMachine])
def test_whatever_comes_in_whatever_order(machine: type[LoopMachine]) -> None:
    run_state_machine_as_test(machine, settings=fuzz.effort(60, stateful_step_count=50))
