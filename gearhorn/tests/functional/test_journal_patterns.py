# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The patterns of journals, on which all daemons of a store agree."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional import command
from gearhorn.tests.functional.diagnosis import doctor
from gearhorn.tests.functional.fleet import Fleet, Member
from gearhorn.tests.processes import eventually
from gearhorn.tests.servers import Redis

JOURNALS: dict[str, Any] = {"journal.topics": "t*"}
QUICK: dict[str, float] = {"gearhorn.daemon.journal.in_force.LOOK_S": 0.1}


def status(member: Member) -> Any:
    (row,) = member.ask("query", query="status")["rows"]
    return row


def sequence(member: Member, topic: str) -> int | None:
    """The number of a message that this daemon fans out, ``None`` without one."""
    number: int | None = member.publish(topic).get("sequence")
    return number


def test_daemons_with_the_same_patterns_share_the_journals(fleet: Fleet) -> None:
    one = fleet.add("one", **JOURNALS)
    two = fleet.add("two", **JOURNALS)

    assert [sequence(member, "topic") for member in (one, two, one)] == [1, 2, 3]
    assert status(one)["journal_fault"] is None


def test_a_daemon_with_other_patterns_takes_nothing(fleet: Fleet) -> None:
    one = fleet.add("one", **JOURNALS)
    two = fleet.add("two", **{"journal.topics": "u*"})
    three = fleet.add("three")

    assert sequence(one, "topic") == 1
    for other in (two, three):
        assert status(other)["journal_fault"] == "journals_differ"
        assert "[journal] topics differ: the store has t*, this daemon" in other.daemon.log
        handle = other.start_fanout("topic")
        fleet.client.expect_nothing_about(handle, 0.3)
    # The other one answers for all, and its word is not missed.
    one.register("topic", "bob")


def test_a_daemon_with_other_patterns_ends_nothing_by_its_limits(fleet: Fleet) -> None:
    one = fleet.add("one", **JOURNALS)
    often = {"gearhorn.daemon.journal.parts.UPKEEP_S": 0.1}
    other = fleet.add("two", constants=often, **{"journal.topics": "*?max_age=1"})
    assert status(other)["journal_fault"] == "journals_differ"
    assert sequence(one, "topic") == 1
    eventually(lambda: status(other)["journal_bytes"])
    # By its limits the message would have ended by now, and soon the whole journal.
    time.sleep(2)
    answer = one.ask("read", topic="topic")
    assert [message["sequence"] for message in answer["messages"]] == [1]


def test_a_daemon_whose_journals_stand_elsewhere_tells_nothing_of_them(
    fleet: Fleet, redis: Redis
) -> None:
    fleet.add("one", **JOURNALS)
    other = fleet.add("two", **JOURNALS, **{"journal.url": redis.url})
    assert status(other)["journal_fault"] == "journals_differ"
    answer = fleet.client.submit("query_two", {"query": "journals"})
    assert answer.refusal == "journals_differ"


def test_doctor_names_each_daemon_that_cannot_append(fleet: Fleet) -> None:
    fleet.add("one", **JOURNALS)
    others = [fleet.add(name, **{"journal.topics": "u*"}) for name in ("two", "three")]

    asked = "--function=query=query_one"
    findings = doctor([fleet.gearmand.address], asked).findings["journal"]

    assert [finding["subject"] for finding in findings] == ["journals_differ"] * 2
    for other in others:
        assert sum(f"daemon {other.worker_id} " in finding["text"] for finding in findings) == 1


def test_patterns_are_adopted_by_a_word(fleet: Fleet) -> None:
    one = fleet.add("one", constants=QUICK, **JOURNALS)
    two = fleet.add("two", constants=QUICK, **{"journal.topics": "u*"})
    assert sequence(one, "topic") == 1

    said = adopt(two.daemon)

    assert "u*" in said.stdout
    assert said.returncode == 0
    # The one gives way, and the other serves.
    assert sequence(two, "under") == 1
    eventually(lambda: status(one)["journal_fault"] == "journals_differ")
    assert sequence(two, "topic") is None
    # The job server is well, and no log says else.
    assert not one.said(": away (")


def adopt(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    return command.run(*daemon.command_line(), "--adopt-journals")
