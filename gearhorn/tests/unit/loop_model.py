# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""A plain model of jobs, copies and reports, with which ``loop_machine`` compares the loop.

The model is told of each event twice. The machine tells it what the servers do: which job they
assign, which copy they queue, refuse or answer. The servers tell it what the loop does: which copy
it sends, what it says of a job, which connection ends. From the first the model knows what must be
in a report; with the second it compares. It knows nothing of blocks, lanes, caches and windows.

Beside that it looks into the real parts, for what cannot be seen from outside: after each step
whether they count right (:func:`check_counts`), and at the end whether anything is left over
(:func:`check_nothing_is_left`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from gearhorn.daemon.fanout import Order
from gearhorn.daemon.turns import Waiting
from gearhorn.tests import packets as wire
from gearhorn.tests.packets import Packet
from gearhorn.tests.unit.loop_world import (
    CACHE_TTL,
    OUT,
    TIMEOUT,
    TOPICS,
    WINDOW,
    PlayedStore,
    World,
)
from gearhorn.tests.unit.model_servers import FakeTransport, Submission, VirtualLoop
from gearhorn.wire.grabber import Job

_OUTCOMES = {
    wire.WORK_COMPLETE: "ok",
    wire.WORK_FAIL: "receiver_failed",
    wire.WORK_EXCEPTION: "receiver_exception",
}
"""The outcome of a copy, by the packet that ends it."""


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
        """The outcome of a copy where it is certain: ok, or the reason."""
        self.results: dict[str, str] = {}
        self.warning: bytes | None = None
        self.over = False
        self.left = False
        """Its publisher has left, and it may end early."""
        self.refused = False

    @property
    def is_held(self) -> bool:
        """True while the job is to be answered."""
        return not self.over and self.connection.open


def _receiver_of(copy: Submission) -> str:
    return copy.queue.decode().split("_", 1)[1]


class Model:
    """The knowledge of the servers and the store."""

    def __init__(self, loop: VirtualLoop, store: PlayedStore, order: Order) -> None:
        self._loop = loop
        self._store = store
        self._order = order
        self.jobs: list[PlayedJob] = []
        self.copies: dict[str, list[Submission]] = {}
        """Queued in the foreground and not answered, by connection and handle."""
        self.queued_copies = [0, 0]
        """Those in the background and in the foreground, lost answers included."""
        self.arrived = [0, 0]
        """The same of those that arrived, by the reports."""
        self._last_sent: dict[tuple[int, bytes, bool], int] = {}
        self._handles = 0

    # What the servers do.

    def assigned(self, connection: FakeTransport, keys: dict[str, Any]) -> PlayedJob:
        """A server assigns a job."""
        job = PlayedJob(connection, len(self.jobs), keys)
        if job.topic is not None:
            job.oldest = self._store.topics[job.topic].oldest
        job.taken = self._loop.time()
        self.jobs.append(job)
        return job

    def queued(self, copy: Submission) -> None:
        """A server queues a copy, and gives it a handle."""
        self._handles += 1
        self.queued_copies[copy.foreground] += 1
        copy.handle = b"H:copy:%d" % self._handles
        if not copy.foreground:
            self._settle(copy, "ok")
            return
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
                return
        self.copies[copy.handle.decode()] = [copy]

    def refused(self, copy: Submission) -> None:
        """A server does not queue a copy."""
        self._settle(copy, "not_queued")

    def copies_answered(self, handle: str, packet_type: int, data: bytes) -> list[Submission]:
        """A receiver says something about its copy; all that share its handle hear of it."""
        copies = self.copies[handle]
        for copy in copies:
            job = self._job_of(copy)
            if packet_type in (wire.WORK_COMPLETE, wire.WORK_DATA) and job.is_held:
                client_id = _receiver_of(copy)
                job.results[client_id] = job.results.get(client_id, "") + data.decode()
        if packet_type in _OUTCOMES:
            del self.copies[handle]
            for copy in copies:
                self._settle(copy, _OUTCOMES[packet_type])
        return copies

    def _job_of(self, copy: Submission) -> PlayedJob:
        return self.jobs[int(copy.payload.partition(b":")[0])]

    def _settle(self, copy: Submission, outcome: str) -> None:
        job = self._job_of(copy)
        if job.is_held:
            job.outcome[_receiver_of(copy)] = outcome

    def publisher_left(self, handle: bytes) -> None:
        """The publisher of a job has left."""
        for job in self.jobs:
            job.left = job.left or job.handle == handle

    # What the loop does, as the servers see it.

    def submitted(self, copy: Submission) -> None:
        """A copy came: for whom, of which job, and in which order."""
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
        job.first_sent = min(job.first_sent, self._loop.now)
        if self._order == "topic":
            others = (other for other in self.jobs if other.topic == topic and other is not job)
            assert not any(other.latest and other.is_held for other in others)
        # A fan-out in the background does not wait for those in the foreground to have turns.
        kind = self._order == "topic" or job.foreground
        where = (copy.connection.server.port, copy.queue, kind)
        if not job.moved:
            assert self._last_sent.get(where, -1) < job.number, "out of order"
            self._last_sent[where] = job.number

    def answered(self, connection: FakeTransport, packet: Packet) -> None:
        """Something is said of a job: on its connection, and in which order."""
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
            self._check_report(job, json.loads(data), completed)

    def closed(self, connection: FakeTransport) -> None:
        """A connection ends, and with it what was queued through it in the foreground."""
        for job in self.jobs:
            for client_id, copy in job.latest.items():
                if copy.connection is connection and client_id not in job.outcome:
                    job.moved = True
                    if copy.handle:
                        job.outcome[client_id] = "server_lost"
        for handle in [h for h, c in self.copies.items() if c[0].connection is connection]:
            del self.copies[handle]

    # What must be in a report.

    def _check_report(self, job: PlayedJob, report: dict[str, Any], completed: bool) -> None:
        if job.topic is None:
            assert report.keys() == {"error", "message"}
            assert not completed
            assert not job.latest
            return
        if job.left:
            assert job.foreground
            # Either no copy was sent, or what was not answered is out of time.
            if report.get("error") == "too_many_open":
                assert not job.latest
                job.refused = True
            else:
                assert "timeout" in report["failed"].values()
                self.arrived[True] += report["delivered"]
            return
        self._check_list(job, job.topic)
        total = report["subscribers"]
        assert total == len(job.latest)
        failed = report["failed"]
        assert report.get("failed_count", 0) == len(failed)
        assert report["delivered" if job.foreground else "queued"] == total - len(failed)
        self.arrived[job.foreground] += total - len(failed)
        for client_id in job.latest:
            expected = job.outcome.get(client_id)
            if expected is None:
                # Nobody has answered: the time must be up.
                assert failed.get(client_id) == "timeout"
                assert job.foreground
                # The time runs from the turn of the loop in which they were written.
                assert self._loop.now >= job.first_sent + TIMEOUT - 0.001
            else:
                assert failed.get(client_id, "ok") == expected
        if job.keys.get("gather"):
            sound = {c for c in job.latest if c not in failed}
            assert report["results"] == {c: job.results.get(c, "") for c in sound}
        else:
            assert "results" not in report
        assert completed == (not failed or bool(job.keys.get("always_report")))

    def _check_list(self, job: PlayedJob, topic: str) -> None:
        """It was sent to the subscribers of a version that it may have been sent to."""
        usable = [
            version
            for version in self._store.topics[topic].versions[job.oldest :]
            if job.taken < version.until + CACHE_TTL
            and set(version.client_ids) == job.latest.keys()
        ]
        assert usable, f"not a list that may be used: {list(job.latest)}"


# What the real parts must hold.


def check_counts(world: World, model: Model) -> None:
    """They have as many jobs, questions and copies in hand as they say."""
    assert not world.errors, world.errors
    grabber = world.grabber
    grabs = grabber._grabs.values()
    window = grabber._window
    assert window.held == sum(len(g.held) for g in grabs)
    assert window.asked == sum(g.outstanding for g in grabs)
    assert window._bytes == sum(len(job.data) for g in grabs for job in g.held)
    # Those that have waited for their turn take places when it comes, whoever has asked for these.
    assert window.held + window.asked <= WINDOW + len(TOPICS) * OUT
    assert all(g.outstanding >= 0 for g in grabs)
    assert grabber._aside == sum(len(g.aside) for g in grabs)
    assert grabber.held == sum(job.is_held for job in model.jobs)
    check_open(world, model)
    for outbox in world.submitter._outboxes.values():
        assert outbox.block is None or outbox.block.unanswered >= 0
    counts = world.fanouts._counts
    tallies = world.submitter.tallies.values()
    for foreground in (False, True):
        ended = counts.fanouts[foreground]
        reported = [j for j in model.jobs if j.over and j.topic and not j.refused]
        assert sum(ended.sizes) == sum(j.foreground == foreground for j in reported)
        assert min(ended.ended_ok, ended.partial, ended.failed, ended.abandoned) >= 0
        assert ended.arrived == model.arrived[foreground]
        queued = sum(tally.queued[foreground] for tally in tallies)
        assert ended.arrived <= queued <= model.queued_copies[foreground]
    ended = counts.fanouts[True]
    under_way = counts.foreground_taken - sum(ended.sizes) - ended.abandoned
    assert 0 <= under_way <= grabber.held


def check_open(world: World, model: Model) -> None:
    """They know the foreground fan-outs that are open, and how many have copies out."""
    every = world.fanouts._turns.open
    assert every.fanouts == sum(crowd.fanouts for crowd in every.crowds.values())
    assert every.copies == sum(crowd.copies for crowd in every.crowds.values()) >= 0
    for topic, crowd in every.crowds.items():
        held = [j for j in model.jobs if j.is_held and j.foreground and j.topic == topic]
        assert sum(bool(job.latest) for job in held) <= crowd.out <= OUT
        assert crowd.out <= crowd.fanouts <= len(held)
        waiting = sum(len(job.data) for job in _waiting_for_turn(world, topic))
        assert crowd.waiting_bytes == waiting


def _waiting_for_turn(world: World, topic: str) -> Iterator[Job]:
    # In the queues are not those whose publisher is in doubt.
    for owner in (watched.owner for watched in world.publishers):
        if isinstance(owner, Waiting) and owner.topic == topic and owner.place is not None:
            yield owner.job


def check_nothing_is_left(world: World) -> None:
    """Check that no part holds anything when all is answered."""
    fanouts = world.fanouts
    every = fanouts._turns.open
    assert not fanouts._lanes
    assert (every.fanouts, every.copies, every.waiting_bytes, every.crowds) == (0, 0, 0, {})
    assert not fanouts._progress._started
    assert not fanouts._stuck_deliveries
    assert not fanouts._tasks._running
    assert not world.lists._reads
    assert fanouts._context.room.free == 4 << 20
    assert not world.grabber.held
    for outbox in world.submitter._outboxes.values():
        assert not outbox.lanes
        assert outbox.block is None
        assert not outbox.awaited.by_handle
        assert not outbox.awaited._twins
    assert not world.errors, world.errors
