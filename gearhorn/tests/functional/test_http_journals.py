# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon with journals is ready, as probes and a service manager are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.http import Answer, ask, metric
from gearhorn.tests.functional.live_reports import report_of
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

pytestmark = pytest.mark.once


def options(topics: str, **more: object) -> dict[str, Any]:
    constants = {
        "gearhorn.service.states.LOOK_S": 0.05,
        "gearhorn.daemon.journal.in_force.LOOK_S": 0.1,
    }
    listen = f"127.0.0.1:{free_port()}"
    return {"http.listen": listen, "journal.topics": topics, "constants": constants, **more}


def why_not(process: Daemon) -> str:
    """The first line of ``/readyz`` of a daemon that is not ready, once that is so."""
    answer = eventually(lambda: (one := ask(process, "/readyz")).status == 503 and one)
    assert isinstance(answer, Answer)
    return answer.text.splitlines()[0]


def test_a_daemon_whose_patterns_are_not_those_of_the_store_is_not_ready(
    daemon: NewDaemon,
) -> None:
    one = daemon(**options("t*"))
    lines = ask(one, "/readyz?verbose").text.splitlines()
    assert lines[-2:] == ["[+] journals: messages are appended to journals", "ok"]

    other = daemon(**options("u*"))

    line = why_not(other)
    assert line.startswith("[-] journals: journals_differ: the store has t*, this daemon u*. It ")
    assert line.endswith("gearhorn-fanout --config FILE --adopt-journals.")
    # gearmand is not to blame.
    assert "[+] job-servers: " in ask(other, "/readyz?verbose").text
    assert ask(other, "/livez").status == 200
    assert "It does not serve." in ask(other, "/").text
    serving = f"STATUS=serving as {other.worker_id}"
    other.wait_notification(f"{serving}, but journals_differ: the store has t*, this daemon u*")
    assert ask(one, "/readyz").status == 200


def test_a_daemon_whose_journals_have_a_store_that_is_away_is_not_ready(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, new_topic: NewTopic
) -> None:
    one = daemon(**options("t*", **{"journal.url": redis.url}))
    topic = new_topic(gearmand)
    reading = topic.client.start("fanout_read", {"topic": topic.name, "wait": 60})
    eventually(lambda: metric(one, "journal_readers") == 1)
    assert topic.publish(background=True).completed
    assert len(topic.client.finish(reading).report["messages"]) == 1
    assert metric(one, "journal_readers") == 0
    assert metric(one, "journal_read_messages_total") == 1
    assert metric(one, "journal_up") == 1
    redis.kill()
    topic.start(background=True)

    line = why_not(one)

    assert line.startswith("[-] journals: store_away: Redis: ")
    assert line.endswith("It is the store of [journal] url.")
    assert metric(one, "journal_up") == 0
    # That of the subscriptions is another one.
    assert metric(one, "store_up") == 1
    assert "[+] store: " in ask(one, "/readyz?verbose").text

    def waits() -> Any:
        found = json.loads(ask(one, "/status.json").text)["journals"]
        return found["messages_waiting"] and found

    journals = eventually(waits)
    assert journals.pop("fault").startswith("store_away: Redis: ")
    assert journals == {
        "up": False,
        "apart": True,
        "messages_waiting": 1,
        "readers_waiting": 0,
        "replays": 0,
    }
    assert "Messages that wait for their numbers" in ask(one, "/").text
    assert any("journals: 1 messages wait for their numbers" in row for row in report_of(one))
    redis.start()
    eventually(lambda: ask(one, "/readyz").status == 200)
    assert metric(one, "journal_up") == 1
