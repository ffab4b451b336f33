# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The events of the loop, as rules that Hypothesis applies in any order.

Each rule is one event: a server assigns jobs, answers, lies or goes away; the store answers; a
list changes; time passes. A rule tells the model (``loop_model``) what it is about to do, and then
does it to the world (``loop_world``), which acts until nothing is left to do at that moment. After
each rule the counts are checked, and after the last one everything is answered, which must leave
nothing behind.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gearhorn import errors
from gearhorn.daemon.attendance import Watched
from gearhorn.daemon.fanout import Order
from gearhorn.store.base import Members
from gearhorn.tests import packets as wire
from gearhorn.tests.builders import encoded, message
from gearhorn.tests.unit.loop_model import Model, check_counts, check_nothing_is_left
from gearhorn.tests.unit.loop_world import CACHE_TTL, TOPICS, PlayedStore, World
from gearhorn.tests.unit.model_servers import FakeTransport, VirtualLoop

REFUSED = [b"", b"\xff", b"[", b'{"topic": "one"}', b'{"topic": "\\u0000", "payload": 1}', b"[]"]

pick = st.integers(0, 1 << 16)


class LoopMachine(RuleBasedStateMachine):
    """Plays the job servers and the store."""

    order: ClassVar[Order] = "receiver"

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.store = PlayedStore()
        self.model = Model(self.loop, self.store, self.order)
        self.world = World(self.loop, self.store, self.order, self.model)

    # Jobs.

    def assign(self, which: int, data: bytes, keys: dict[str, Any], unique: bytes = b"") -> None:
        connections = self.world.grabbing
        connection = connections[which % len(connections)]
        job = self.model.assigned(connection, keys)
        connection.grabs -= 1
        connection.send(wire.JOB_ASSIGN_UNIQ, job.handle, b"fanout", unique, data)

    def assign_fan_out(
        self, which: int, topic: str, *, outer: bytes = b"", **options: object
    ) -> None:
        keys = message(topic, f"{len(self.model.jobs)}:payload", **options)
        self.assign(which, encoded(keys), keys, outer)

    def assign_plainly(self, which: int, topic: str) -> None:
        if self.world.grabbing:
            self.assign_fan_out(which, topic, background=True)
            self.loop.settle()

    @precondition(lambda self: self.world.grabbing)
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
            if not self.world.grabbing:
                return
            self.assign_fan_out(
                which,
                topic,
                outer=outer,
                background=background,
                gather=gather and not background,
                always_report=always_report,
                unique=unique,
            )
        self.loop.settle()

    @precondition(lambda self: self.world.grabbing)
    @rule(which=pick, data=st.sampled_from(REFUSED))
    def assign_what_is_refused(self, which: int, data: bytes) -> None:
        self.assign(which, data, {})
        self.loop.settle()

    @precondition(lambda self: self.world.grabbing)
    @rule(which=pick)
    def have_no_job(self, which: int) -> None:
        connections = self.world.grabbing
        connection = connections[which % len(connections)]
        connection.grabs -= 1
        connection.send(wire.NO_JOB)
        self.loop.settle()

    @rule(which=pick)
    def wake(self, which: int) -> None:
        for connection in list(self.world.servers[which % 2].connections):
            connection.send(wire.NOOP)
        self.loop.settle()

    # Copies.

    @precondition(lambda self: self.world.submitting)
    @rule(which=pick, answers=st.lists(st.booleans(), min_size=1, max_size=6))
    def answer_submissions(self, which: int, answers: list[bool]) -> None:
        connections = self.world.submitting
        connection = connections[which % len(connections)]
        for queues in answers:
            if not connection.submissions:
                break
            if queues:
                self.queue_next(connection)
            else:
                self.model.refused(connection.submissions.popleft())
                connection.send(wire.ERROR, b"queue_full", b"no room")
        self.loop.settle()

    def queue_next(self, connection: FakeTransport) -> None:
        copy = connection.submissions.popleft()
        self.model.queued(copy)
        connection.send(wire.JOB_CREATED, copy.handle)

    def queue_all(self) -> None:
        for connection in self.world.submitting:
            while connection.submissions:
                self.queue_next(connection)
            self.loop.settle()

    @precondition(lambda self: self.model.copies)
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
        handle = list(self.model.copies)[which % len(self.model.copies)]
        arguments = [] if packet_type == wire.WORK_FAIL else [data]
        for copy in self.model.copies_answered(handle, packet_type, data):
            copy.connection.send(packet_type, handle.encode(), *arguments)
        self.loop.settle()

    # Publishers.

    @precondition(lambda self: self.world.publishers)
    @rule(which=pick, leaves=st.booleans())
    def doubt_publisher(self, which: int, leaves: bool) -> None:
        """A publisher seems to have left; one that did is back, or has left."""
        publishers = self.world.publishers
        watched = publishers[which % len(publishers)]
        owner: Any = watched.owner
        if not watched.doubted:
            watched.doubted = True
            self.loop.call_soon(owner.publisher_doubted)
        elif leaves:
            self.model.publisher_left(owner.job.handle)
            watched.done()
            self.loop.call_soon(owner.publisher_left)
        else:
            self.believe(watched)
        self.loop.settle()

    def believe(self, watched: Watched) -> None:
        watched.doubted = False
        if watched.owner is not None:
            self.loop.call_soon(watched.owner.publisher_back)

    # What no server should do.

    @rule(
        which=pick,
        packet_type=st.sampled_from([*range(45), 1 << 31]),
        body=st.sampled_from([b"", b"\0", b"H:nobody:1", b"H:nobody:1\0x", b"H:copy:1\0\0\0"]),
    )
    def send_what_nobody_asked_for(self, which: int, packet_type: int, body: bytes) -> None:
        connections = self.world.connections
        if not connections:
            return
        connection = connections[which % len(connections)]
        handle = body.partition(b"\0")[0].decode()
        asked = (
            handle in self.model.copies
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
        connections = self.world.connections
        if connections:
            connection = connections[which % len(connections)]
            connection.send_raw(data)
            self.loop.settle()
            assert not connection.open

    @precondition(lambda self: self.world.grabbing)
    @rule(which=pick, assigns=st.booleans())
    def answer_what_was_not_asked(self, which: int, assigns: bool) -> None:
        connections = self.world.grabbing
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

    # Connections and servers that go and come, and time.

    @rule(which=pick, everything=st.booleans(), stays_up=st.booleans())
    def lose_connections(self, which: int, everything: bool, stays_up: bool) -> None:
        server = self.world.servers[which % 2]
        server.up = stays_up
        connections = list(server.connections)
        for connection in connections if everything else connections[which % 3 :][:1]:
            connection.close()
        self.loop.settle()

    @rule(which=pick, up=st.booleans(), responsive=st.booleans())
    def change_server(self, which: int, up: bool, responsive: bool) -> None:
        server = self.world.servers[which % 2]
        server.up = up or which % 3 > 0
        server.responsive = responsive or which % 5 > 0
        self.loop.settle()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.5, 6.0, 11.0, 21.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.advance(seconds)

    # Lists.

    @rule(topic=st.sampled_from(TOPICS), size=st.sampled_from([0, 1, 2, 3, 40]), told=st.booleans())
    def change_subscribers(self, topic: str, size: int, told: bool) -> None:
        self.store.topics[topic].change(size, self.loop.time())
        if told:
            self.tell(topic)

    @rule(topic=st.sampled_from(TOPICS))
    def tell(self, topic: str) -> None:
        """A notice comes."""
        self.store.topics[topic].notice()
        self.world.lists.drop(topic)

    @rule()
    def drop_all(self) -> None:
        for played in self.store.topics.values():
            played.notice()
        self.world.lists.keep_none()
        self.world.lists.keep_until(math.inf)

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

    @precondition(lambda self: self.world.lists._lists)
    @rule(which=pick, size=st.sampled_from([0, 2]))
    def outlive_list(self, which: int, size: int) -> None:
        """A list changes, no notice comes, and time passes."""
        topics = list(self.world.lists._lists)
        topic = topics[which % len(topics)]
        self.change_subscribers(topic, size, False)
        self.loop.advance(CACHE_TTL)
        self.assign_plainly(which, topic)

    # What always holds, and the end.

    @invariant()
    def counts_are_right(self) -> None:
        check_counts(self.world, self.model)

    def everything_ends(self) -> None:
        """Servers and the store do what they should; then nothing may be left."""
        for server in self.world.servers:
            server.up = server.responsive = True
        for watched in self.world.publishers:
            if watched.doubted:
                self.believe(watched)
        for _ in range(200):
            if not any(job.is_held for job in self.model.jobs):
                break
            self.store.answer_all()
            self.queue_all()
            self.loop.settle()
            self.loop.advance(1.0)
        assert not any(job.is_held for job in self.model.jobs), "a job is never answered"
        self.loop.advance(1.0)
        # Reads of jobs that were lost may still be waited for.
        for _ in range(5):
            self.store.answer_all()
            self.loop.advance(3.0)
        self.queue_all()
        self.loop.advance(1.0)
        check_nothing_is_left(self.world)

    def teardown(self) -> None:
        try:
            if not self.world.errors:
                self.everything_ends()
        finally:
            self.world.end()


class TopicOrderMachine(LoopMachine):
    """With ``order = topic``."""

    order = "topic"
