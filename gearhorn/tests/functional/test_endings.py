# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that end because nobody serves them, and what ended ones leave."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import Start
from gearhorn.tests.functional.fleet import SHORT, Fleet, Member
from gearhorn.tests.peer import Peer
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Gearmand

COPIES = 500
"""Many pages of what is discarded at a time."""

OFTEN = {
    "gearhorn.messages.LEAST_IDLE_S": 0.1,
    "gearhorn.messages.limits.LEAST_IDLE_S": 0.1,
    "gearhorn.daemon.guard.endings.OFTEN_S": 0.1,
    "gearhorn.wire.discard.PAGE": 20,
}
"""A daemon that looks often, and takes shorter times than operators may set."""

DISCARDS: dict[str, Any] = {**SHORT, "limits.discard_after": 0.9, "constants": OFTEN}
REMOVES: dict[str, Any] = {**SHORT, "limits.remove_idle": 0.9, "constants": OFTEN}


def fill(fleet: Fleet, queue: str, copies: int) -> None:
    """Put copies into a queue, as daemons do."""
    client = fleet.client
    for number in range(copies):
        client.start(queue, f"old {number}", background=True)


def waiting(fleet: Fleet, queue: str) -> int:
    return fleet.gearmand.admin.queue(queue).total


def receiver(fleet: Fleet, queue: str) -> Peer:
    worker = fleet.new_client()
    worker.can_do(queue)
    return worker


# What ended subscriptions leave.


@pytest.fixture(params=["redis", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Each kind of store; ``None`` is that of the session."""
    return None if request.param == "redis" else f"sqlite://{tmp_path}/store.db"


def test_what_an_ended_subscription_left_is_discarded(fleet: Fleet, store_url: str | None) -> None:
    one = fleet.add("one", store_url=store_url, **DISCARDS)
    queues = one.register_all(fleet.topic, ["bob", "alice"])
    for number in range(5):
        one.publish(fleet.topic, str(number))
    one.unregister(fleet.topic, "bob")
    eventually(lambda: not waiting(fleet, queues[0]))
    one.until_it_says(
        f"discarded what ended subscriptions have left: copies 5, queues 1 ({queues[0]})"
    )
    assert counted(one, "copies_discarded_total") == 5
    # Of those that are there nothing is touched; and the functions stay listed.
    assert waiting(fleet, queues[1]) == 5
    assert queues[0] in fleet.gearmand.admin.status()


def test_it_stays_while_a_worker_serves_the_queue(fleet: Fleet) -> None:
    one = fleet.add("one", **DISCARDS)
    served, unread = one.register_all(fleet.topic, ["served", "unread"])
    one.publish(fleet.topic)
    with receiver(fleet, served):
        one.unregister(fleet.topic, "served")
        one.unregister(fleet.topic, "unread")
        eventually(lambda: not waiting(fleet, unread))
        assert waiting(fleet, served) == 1
    eventually(lambda: not waiting(fleet, served))


def test_who_registers_again_at_any_moment_loses_nothing_that_comes_after(
    fleet: Fleet, store_url: str | None
) -> None:
    one = fleet.add("one", store_url=store_url, **DISCARDS)
    other = fleet.add("other", store_url=store_url, **SHORT)
    for moment in range(5):
        (queue,) = one.register_all(fleet.topic, [f"bob{moment}"])
        fill(fleet, queue, COPIES)
        one.unregister(fleet.topic, f"bob{moment}")
        # Before it is discarded, in the midst of that, and when it just is.
        left = COPIES - moment * COPIES // 4
        eventually(lambda: waiting(fleet, queue) <= left, interval_s=0.001)  # noqa: B023
        other.register(fleet.topic, f"bob{moment}")
        assert other.publish(fleet.topic, "new")["queued"] == moment + 1
        assert b"new" in drained(fleet, queue)


def drained(fleet: Fleet, queue: str) -> list[bytes]:
    """Everything that is in a queue, until the last that the test has sent."""
    found: list[bytes] = []
    with receiver(fleet, queue) as worker:
        while b"new" not in found:
            job = worker.grab(20)
            worker.complete(job)
            found.append(job.data)
    return found


def is_frozen_while_others_can_write(member: Member, store_url: str | None) -> bool:
    """Freeze a daemon, unless it has the lock of the file: nobody could register then."""
    member.daemon.pause()
    if store_url is None:
        return True
    file = store_url.removeprefix("sqlite://")
    with contextlib.closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            member.daemon.resume()
            return False
        return True


def test_who_discards_and_is_frozen_discards_nothing_that_comes_after(
    fleet: Fleet, store_url: str | None
) -> None:
    options: dict[str, Any] = {"store_url": store_url, "matchmaking.daemon_ttl": 60}
    # In small pages, so that it is still about that when it is frozen.
    slowly = {"constants": {**OFTEN, "gearhorn.wire.discard.PAGE": 2}}
    one = fleet.add("one", **{**DISCARDS, **options, **slowly})
    other = fleet.add("other", **{**SHORT, **options})
    (queue,) = one.register_all(fleet.topic, ["bob"])
    fill(fleet, queue, 4 * COPIES)
    one.unregister(fleet.topic, "bob")
    eventually(lambda: waiting(fleet, queue) < 4 * COPIES, interval_s=0.001)
    eventually(lambda: is_frozen_while_others_can_write(one, store_url))
    assert waiting(fleet, queue)
    # The lease runs out, as its holder is not heard of.
    other.register(fleet.topic, "bob")
    assert other.publish(fleet.topic, "new")["queued"] == 1
    one.daemon.resume()
    assert b"new" in drained(fleet, queue)
    # What it had in hand when it was frozen is in the queue again.
    eventually(lambda: not fleet.gearmand.admin.queue(queue).running)
    assert one.daemon.exit_code is None


# Subscriptions that nobody serves.


def counted(member: Member, name: str) -> float:
    """What a daemon has counted, by the name of the metric."""
    (row,) = member.ask("query", query="status")["rows"]
    count: float = row["counters"].get(name, 0)
    return count


def is_subscribed(member: Member, client_id: str) -> bool:
    topic = member._fleet.topic
    rows = member._fleet.store(lambda store: store.subscribers(topic, "", 100))
    return client_id in {row.client_id for row in rows}


def test_a_subscription_ends_whose_queue_nobody_serves(fleet: Fleet) -> None:
    one = fleet.add("one", **REMOVES)
    other = fleet.add("other", **REMOVES)
    dead, slow, *_ = one.register_all(fleet.topic, ["dead", "slow", "idle"])
    one.register(fleet.topic, "patient", remove_idle=0)
    with receiver(fleet, f"{fleet.topic}_idle") as idle, receiver(fleet, slow):
        one.publish(fleet.topic)
        idle.complete(idle.grab())
        eventually(lambda: not is_subscribed(one, "dead"), 20)
        # Each has what it was registered for, or nothing that waits.
        for client_id in ("slow", "idle", "patient"):
            assert is_subscribed(one, client_id)
        # Every daemon honours it.
        eventually(lambda: other.publish(fleet.topic)["subscribers"] == 3)
        text = "served their queues for as long as remove_idle says: 1 ("
        eventually(lambda: one.said(text) or other.said(text))
        assert one.said(dead) or other.said(dead)
        assert sum(counted(each, "subscriptions_idle_total") for each in (one, other)) == 1


def test_a_registration_says_when_it_ends_where_nothing_is_configured(fleet: Fleet) -> None:
    # A minute is too long for a test: that is how often such a daemon looks.
    constants = {**OFTEN, "gearhorn.daemon.guard.endings.SELDOM_S": 0.1}
    one = fleet.add("one", **SHORT, constants=constants)
    one.register(fleet.topic, "bob", remove_idle=0.9)
    one.register(fleet.topic, "alice")
    one.publish(fleet.topic)
    eventually(lambda: not is_subscribed(one, "bob"), 20)
    assert is_subscribed(one, "alice")


def test_the_time_begins_anew_when_anybody_sees_the_queue_served(fleet: Fleet) -> None:
    one = fleet.add("one", **{**REMOVES, "limits.remove_idle": 3600})

    def is_idle() -> bool:
        return queue in fleet.store(lambda store: store.idle())

    (queue,) = one.register_all(fleet.topic, ["bob"])
    for _ in range(3):
        one.publish(fleet.topic)
    for _ in range(2):
        eventually(is_idle)
        # A worker that takes one and leaves; then one that takes none.
        with receiver(fleet, queue) as worker:
            worker.complete(worker.grab())
            eventually(lambda: not is_idle())
    eventually(is_idle)
    with receiver(fleet, queue):
        eventually(lambda: not is_idle())
    eventually(is_idle)
    one.register(fleet.topic, "bob")
    one.register(fleet.topic, "bob", remove_idle=0)
    assert not is_idle()


def test_a_subscriber_that_is_served_on_one_of_two_servers_stays(
    fleet: Fleet, start: Start
) -> None:
    second = start(Gearmand())
    one = fleet.add("one", servers=[fleet.gearmand, second], **REMOVES)
    names = [f"bob{number}" for number in range(8)]
    queues = one.register_all(fleet.topic, [*names, "dead"])
    # Its workers reach the other server only, so that what is queued here waits.
    with Peer(second.port) as worker:
        worker.can_do(*queues[:-1])
        one.publish(fleet.topic)
        eventually(lambda: not is_subscribed(one, "dead"), 20)
        assert all(is_subscribed(one, name) for name in names)


def test_nothing_ends_while_a_server_cannot_be_asked(fleet: Fleet, start: Start) -> None:
    second = start(Gearmand())
    options = {**REMOVES, "limits.remove_idle": 0.3}
    one = fleet.add("one", servers=[fleet.gearmand, second], **options)
    second.pause()
    one.register(fleet.topic, "bob")
    fill(fleet, f"{fleet.topic}_bob", 1)
    time.sleep(1.5)
    assert is_subscribed(one, "bob")
    second.resume()
    eventually(lambda: not is_subscribed(one, "bob"), 30)


# What operators see.


def test_operators_see_what_ended_and_remove_the_names(fleet: Fleet) -> None:
    one = fleet.add("one", **SHORT)
    names = ["alice", "bob", "carol", "dave", "Erin", "erin"]
    queues = one.register_all(fleet.topic, names)
    one.publish(fleet.topic)
    for queue in queues:
        if not queue.endswith("carol"):
            with receiver(fleet, queue) as worker:
                worker.complete(worker.grab())
    for name in ("bob", "carol", "dave", "erin", "alice"):
        one.unregister(fleet.topic, name)
    one.register(fleet.topic, "alice")

    rows = one.ask("query", query="ended")["rows"]
    assert [row["client_id"] for row in rows] == ["bob", "carol", "dave", "erin"]
    assert rows[0].keys() == {"queue", "topic", "client_id", "ended"}
    assert rows[0]["queue"] == queues[1]
    assert 0 <= rows[0]["ended"] < 60
    page = one.ask("query", query="ended", limit=1, after=queues[1])
    assert (page["rows"][0]["client_id"], page["next"]) == ("carol", queues[2])

    def purge(*options: str, **how: Any) -> Any:
        server = [fleet.gearmand.address]
        functions = "query=query_one"
        return gearhorn(server, "purge", "--ended", *options, GEARHORN_FUNCTIONS=functions, **how)

    done = purge(stdin="n\n")
    assert done.returncode == 1
    assert "the empty ones of 4 queues whose subscriptions have ended?" in done.stderr
    # dave's has a worker, carol's a message, and Erin's is alike one that has a worker.
    with receiver(fleet, queues[3]), receiver(fleet, queues[4]):
        done = purge("--yes", "--format", "json")
        assert (done.returncode, json.loads(done.stdout)) == (0, {"ended": 4, "removed": 1})
        assert set(fleet.gearmand.admin.status()) >= {*queues} - {queues[1]}
        assert queues[1] not in fleet.gearmand.admin.status()
    eventually(lambda: not any(fleet.gearmand.admin.queue(queue).workers for queue in queues))
    assert purge("--yes").stdout == "3 empty queues removed.\n"
    assert {*queues} & {*fleet.gearmand.admin.status()} == {queues[0], queues[2]}


def test_purge_wants_a_queue_or_what_ended(fleet: Fleet) -> None:
    for words in (["memos"], ["memos", "bob", "--ended"], []):
        done = gearhorn([fleet.gearmand.address], "purge", *words)
        assert done.returncode == 2
        assert "--ended" in done.stderr
