# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Daemons of one store that are configured differently where they must not be."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon
from gearhorn.tests.daemons import Daemon
from gearhorn.tests.functional.http import ask
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, Redis

LOOKS_OFTEN: dict[str, Any] = {"matchmaking.cache_ttl": 0.5, "matchmaking.daemon_ttl": 1.5}

NAMED = " ERROR gearhorn.daemon.trust.agreement [-]"

DIFFERENT: dict[str, dict[str, Any]] = {
    "[matchmaking] cache_ttl": {"matchmaking.cache_ttl": 0.4},
    "[matchmaking] daemon_ttl": {"matchmaking.daemon_ttl": 2},
    "[matchmaking] topic": {"matchmaking.topic": "__another"},
    "[functions] unsubscribe": {"functions.unsubscribe": "leave_fanout"},
}


def named(one: Daemon, other: Daemon, option: str) -> bool:
    return (
        f"ERROR gearhorn.daemon.trust.agreement [-] daemon {other.worker_id} has {option} = "
        in one.log
    )


def findings(server: Gearmand) -> list[dict[str, str]]:
    command = ["doctor", "--interval", "0.1", "--format", "json"]
    found = json.loads(gearhorn([server.address], *command).stdout)["findings"]
    return [finding for finding in found if finding["check"] == "daemon-settings"]


def checks(process: Daemon) -> dict[str, dict[str, Any]]:
    found = json.loads(ask(process, "/status.json").text)["checks"]
    return {check["name"]: check for check in found}


@pytest.mark.parametrize("option", DIFFERENT)
def test_each_names_the_option_of_the_other_once(
    daemon: NewDaemon, gearmand: Gearmand, option: str
) -> None:
    shown: dict[str, Any] = {"http.listen": f"127.0.0.1:{free_port()}"}
    one = daemon(**LOOKS_OFTEN, **shown)
    assert findings(gearmand) == []
    assert "settings" not in checks(one)
    other = daemon(**{**LOOKS_OFTEN, **DIFFERENT[option]})
    eventually(lambda: named(one, other, option) and named(other, one, option))

    (finding,) = findings(gearmand)
    assert finding["level"] == "error"
    # Which of the two answered is all the same.
    assert finding["subject"] in (one.worker_id, other.worker_id)
    assert option in finding["text"]

    # The page of one of them says the same, and what to do in the same words.
    check = checks(one)["settings"]
    assert check["text"] == f"daemon {other.worker_id} differs from this one in {option}"
    assert (check["advice"], check["link"]) == (finding["advice"], finding["link"])

    one.stop()
    other.stop()
    for log in (one.log, other.log):
        assert log.count(NAMED) == 1


def test_daemons_that_agree_name_nothing(daemon: NewDaemon, gearmand: Gearmand) -> None:
    one, other = daemon(**LOOKS_OFTEN), daemon(**LOOKS_OFTEN)
    looks = 5 * LOOKS_OFTEN["matchmaking.daemon_ttl"] / 3
    with pytest.raises(AssertionError):
        eventually(lambda: NAMED in one.log + other.log, looks)
    assert findings(gearmand) == []


def test_settings_go_with_the_entry(
    daemon: NewDaemon, redis_server: Redis, key_prefix: str
) -> None:
    one, killed = daemon(**LOOKS_OFTEN), daemon(**LOOKS_OFTEN)
    settings = f"{key_prefix}settings"
    assert redis_server.ask("HLEN", settings) == ":2\r\n"
    killed.kill()
    eventually(lambda: redis_server.ask("HLEN", settings) == ":1\r\n")
    # An older release removes the entry only.
    redis_server.ask("HSET", settings, "left-behind", "{}")
    other = daemon(**LOOKS_OFTEN)
    for name, kept in ((one.worker_id, 1), (other.worker_id, 1), ("left-behind", 0)):
        assert redis_server.ask("HEXISTS", settings, name) == f":{kept}\r\n"
    one.stop()
    other.stop()
    assert redis_server.ask("HLEN", settings) == ":0\r\n"


def test_a_database_of_an_older_release_gets_the_table(daemon: NewDaemon, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite://{path}"
    daemon(store_url=url).stop()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE settings")
    options: dict[str, Any] = {"matchmaking.cache_ttl": 5}
    one, other = daemon(store_url=url), daemon(store_url=url, **options)
    eventually(lambda: named(other, one, "[matchmaking] cache_ttl"))
