# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the page says is to be done, beside what ``gearhorn doctor`` finds in the same shop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.conftest import NewTopic
from gearhorn.tests.functional.diagnosis import doctor
from gearhorn.tests.functional.filling import FEW, fill_up
from gearhorn.tests.functional.http import ask
from gearhorn.tests.functional.test_reload import reload
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand

pytestmark = pytest.mark.once

FINE = "It serves, and nothing is to be done."


def shown(process: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ask(process, "/status.json").text)
    return found


def to_be_done(process: Daemon) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in shown(process)["checks"] if not check["ok"]}


def listening() -> dict[str, Any]:
    return {"http.listen": f"127.0.0.1:{free_port()}"}


def test_a_full_queue(daemon: NewDaemon, gearmand: Gearmand, new_topic: NewTopic) -> None:
    process = daemon(**listening(), **FEW)
    topic = new_topic(gearmand)
    topic.subscribe("dead")
    eventually(lambda: shown(process)["verdict"] == FINE)
    fill_up(topic, "dead")

    # Without samples: whoever sends to it knows.
    full = eventually(lambda: to_be_done(process).get("full"))

    assert full is not None
    (finding,) = doctor([gearmand.address]).findings["queue-full"]
    assert full["link"] == finding["link"]
    assert full["text"] == "1 queue is full: further messages are not sent there"
    page = ask(process, "/").text
    assert f"See {finding['link']}</p>" in page
    assert FINE not in page


def test_daemons_with_other_limits(daemon: NewDaemon, gearmand: Gearmand) -> None:
    often: dict[str, Any] = {"matchmaking.cache_ttl": 0.5, "matchmaking.daemon_ttl": 1.5}
    one, other = daemon(**often, **listening()), daemon(**often)
    assert "limits" not in to_be_done(one)
    reload(other, **FEW)

    limits = eventually(lambda: to_be_done(one).get("limits"))

    assert limits is not None
    findings = eventually(lambda: doctor([gearmand.address]).findings.get("daemon-limits"))
    assert findings
    (finding,) = findings
    assert (limits["advice"], limits["link"]) == (finding["advice"], finding["link"])
    assert other.worker_id in limits["text"]
    reload(other, **dict.fromkeys(FEW))
    eventually(lambda: "limits" not in to_be_done(one))
