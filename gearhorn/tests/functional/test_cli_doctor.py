# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Each finding of doctor about servers, daemons and the store, provoked."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

from gearhorn.cmd.cli.checks import check
from gearhorn.cmd.cli.facts import Facts
from gearhorn.messages import DaemonRow
from gearhorn.tests import packets as wire
from gearhorn.tests.cli import gearhorn
from gearhorn.tests.conftest import NewDaemon, NewPeer, Start
from gearhorn.tests.functional.diagnosis import doctor, publish, register
from gearhorn.tests.functional.fleet import NOBODY_GOES_BY_TIME
from gearhorn.tests.processes import eventually, free_port
from gearhorn.tests.servers import Gearmand, GearServer, Redis
from gearhorn.wire.address import Address
from gearhorn.wire.status import QueueState


def test_doctor_ends_with_0_where_all_is_well(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    client, worker = peer(), peer()
    register(client, "memos", "bob")
    register(client, "memos", "alice")
    worker.can_do("memos_bob")

    found = doctor([gearmand.address])

    assert found.exit_code == 0
    assert found.document | {"findings": None} == {
        "findings": None,
        "servers": 1,
        "daemons": 1,
        "topics": 1,
        "subscribers": 2,
    }
    assert set(found.findings) == {"server-options"}
    assert found.findings["server-options"][0]["level"] == "note"


def test_doctor_prints_findings_with_advice_for_people(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    register(peer(), "memos", "bob")
    publish(peer(), "memos")

    done = gearhorn([gearmand.address], "doctor", "--interval", "0.1")

    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "WARNING  1 message waiting in memos_bob, which no worker reads",
        "         Start its receiver, or unregister it and purge the queue.",
        "         See howto/runbook.html#finding-queue-unread",
    ]
    option = "--keepalive" if Gearmand.takes_turns() else "--round-robin"
    assert lines[3].startswith(f"NOTE     whether a job server runs with {option}")
    assert lines[-1] == (
        "Seen: 1 server, 1 daemon, 1 topic, 1 subscriber. Found: 0 errors, 1 warning, 1 note."
    )
    assert done.returncode == 1
    wiki = "https://wiki.example.org/gearhorn"
    done = gearhorn([gearmand.address], "doctor", "--interval", "0.1", GEARHORN_DOCS=wiki)
    assert f"         See {wiki}/howto/runbook.html#finding-queue-unread\n" in done.stdout


def test_doctor_ends_with_4_without_a_job_server() -> None:
    address = f"127.0.0.1:{free_port()}"

    found = doctor([address])

    assert found.exit_code == 4
    assert found.only("server")["subject"] == address


def test_doctor_names_a_job_server_that_is_away(daemon: NewDaemon, gearmand: Gearmand) -> None:
    away = f"127.0.0.1:{free_port()}"
    daemon([gearmand, away])

    found = doctor([gearmand.address, away])

    assert found.exit_code == 1
    assert found.findings["server"][0]["subject"] == away
    assert away in found.findings["daemon-servers"][0]["text"]


@pytest.mark.slow
def test_doctor_names_a_server_that_is_no_job_server(
    daemon: NewDaemon, gearmand: Gearmand, redis_server: Redis
) -> None:
    daemon()

    found = doctor([gearmand.address, redis_server.address], "--timeout", "2")

    assert found.only("server")["subject"] == redis_server.address


@pytest.mark.parametrize(
    ("name", "check"), [("gear.Server", "server-version"), ("JobServer", "server-options")]
)
def test_doctor_accepts_the_job_server_of_gear(
    daemon: NewDaemon, start: Start, name: str, check: str
) -> None:
    server = start(GearServer(name))
    daemon([server.address])

    found = doctor([server.address], "--timeout", "2")

    assert found.exit_code == 0
    assert set(found.findings) == {check}


def test_doctor_says_that_no_daemon_runs(gearmand: Gearmand) -> None:
    found = doctor([gearmand.address])

    assert found.exit_code == 1
    assert found.only("function")["level"] == "error"


def test_doctor_names_a_job_server_without_a_daemon(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    other = start(Gearmand())
    running = daemon()

    found = doctor([gearmand.address, other.address])

    assert found.findings["function"][0]["subject"] == other.address
    assert found.findings["daemon-unreachable"][0]["subject"] == running.worker_id


def test_doctor_says_that_no_daemon_answers(daemon: NewDaemon, gearmand: Gearmand) -> None:
    daemon().pause()

    found = doctor([gearmand.address], "--timeout", "1")

    assert found.only("query")["level"] == "error"


def test_doctor_says_that_the_store_is_away(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    daemon(store_url=redis.url)
    redis.kill()

    found = doctor([gearmand.address])

    assert found.only("store")["subject"] == "store_away"


def test_doctor_says_that_the_store_was_emptied(
    daemon: NewDaemon, gearmand: Gearmand, start: Start
) -> None:
    redis = start(Redis())
    one = daemon(store_url=redis.url)
    (mark,) = [name for name in gearmand.admin.status() if "_store_" in name]
    redis.ask("FLUSHALL")
    eventually(lambda: gearmand.admin.queue(f"{mark}_waits").workers)

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    assert set(found.findings) == {"server-options", "store", "daemon-waits"}
    (store,) = found.findings["store"]
    assert store["subject"] == "store_replaced"
    (waits,) = found.findings["daemon-waits"]
    assert f"daemon {one.worker_id} waits for the store {mark[-8:]}" in waits["text"]
    for finding in (store, waits):
        assert "--accept-store" in finding["advice"]


def test_doctor_says_how_to_remove_a_dead_daemon(daemon: NewDaemon, gearmand: Gearmand) -> None:
    daemon()
    dead = daemon()
    dead.kill()

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    finding = found.only("daemon-unreachable")
    assert finding["subject"] == dead.worker_id
    assert re.search(r"at most 100 s after .*registrations wait", finding["advice"])
    assert finding["advice"].endswith(f": gearhorn remove-daemon {dead.worker_id}")


def test_doctor_names_a_daemon_that_is_late(
    daemon: NewDaemon, gearmand: Gearmand, redis_server: Redis, key_prefix: str
) -> None:
    daemon()
    dead = daemon()
    dead.kill()
    # As if that were long ago.
    redis_server.ask("HSET", f"{key_prefix}seen", dead.worker_id, "1")

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    assert found.only("daemon-late")["subject"] == dead.worker_id
    rows = json.loads(gearhorn([gearmand.address], "daemons", "--format", "json").stdout)
    assert {row["worker_id"]: row["state"] for row in rows}[dead.worker_id] == "late"


def test_doctor_names_a_daemon_of_which_the_store_has_lost_when_it_was_seen(
    daemon: NewDaemon, gearmand: Gearmand, redis_server: Redis, key_prefix: str
) -> None:
    # It renews its entry long after the test.
    process = daemon(**NOBODY_GOES_BY_TIME)
    redis_server.ask("DEL", f"{key_prefix}seen")

    finding = doctor([gearmand.address]).only("daemon-late")

    assert finding["level"] == "warning"
    assert f"when daemon {process.worker_id} was last seen is unknown" in finding["text"]
    (row,) = json.loads(gearhorn([gearmand.address], "daemons", "--format", "json").stdout)
    assert (row["age"], row["state"]) == (None, "unknown")
    assert re.search(
        rf"^{process.worker_id} +unknown +unknown",
        gearhorn([gearmand.address], "daemons").stdout,
        re.MULTILINE,
    )


def test_doctor_warns_of_a_redis_that_evicts(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis
) -> None:
    redis.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
    daemon(store_url=redis.url)
    finding = doctor([gearmand.address]).only("store-evicts")
    assert (finding["level"], finding["subject"]) == ("warning", "allkeys-lfu")


def test_doctor_warns_of_journals_that_fill_their_redis(
    daemon: NewDaemon, gearmand: Gearmand, redis: Redis, peer: NewPeer
) -> None:
    often: dict[str, float] = {"gearhorn.daemon.journal.parts.UPKEEP_S": 0.1}
    options: dict[str, Any] = {"journal.topics": "memos"}
    daemon(store_url=redis.url, constants=often, **options)
    publish(peer(), "memos")
    (used,) = re.findall(r"used_memory:(\d+)", redis.ask("INFO", "memory"))
    most = int(used) * 11 // 10
    redis.ask("CONFIG", "SET", "maxmemory", str(most))

    (finding,) = eventually(lambda: doctor([gearmand.address]).findings.get("journal-memory", []))
    assert finding["level"] == "warning"
    assert finding["subject"].endswith(f" of {most}")


def test_doctor_names_a_daemon_that_starts_with_another_store(
    daemon: NewDaemon, gearmand: Gearmand, key_prefix: str
) -> None:
    one = daemon()
    other = daemon(key_prefix=f"{key_prefix}other:", wait_ready=False)
    waits = eventually(
        lambda: [name for name in gearmand.admin.status() if name.endswith("_waits")]
    )

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    (finding,) = found.findings["daemon-waits"]
    assert finding["subject"] == waits[0].removesuffix("_waits")[-8:]
    assert str(other.options["gearman.worker_id"]) in finding["text"]
    assert one.worker_id not in finding["text"]


def test_doctor_names_a_daemon_with_another_store(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    one = daemon()
    (mark,) = [name for name in gearmand.admin.status() if "_store_" in name]
    other = peer()
    other.send(wire.SET_CLIENT_ID, "other")
    other.can_do(f"{mark[:-8]}1a2b3c4d", "__matchmaking_other")

    found = doctor([gearmand.address])

    assert found.exit_code == 1
    (finding,) = found.findings["daemon-unknown"]
    assert finding["subject"] == "other"
    (finding,) = found.findings["daemon-store"]
    assert "1a2b3c4d (other)" in finding["text"]
    assert f"{mark[-8:]} ({one.worker_id})" in finding["text"]


def test_doctor_names_a_function_that_a_daemon_left(
    daemon: NewDaemon, gearmand: Gearmand, peer: NewPeer
) -> None:
    daemon()
    with peer() as departed:
        departed.can_do("__matchmaking_departed")

    found = doctor([gearmand.address])

    assert found.exit_code == 0
    (finding,) = found.findings["daemon-leftover"]
    assert finding["subject"] == "departed"
    assert gearmand.address in finding["text"]
    assert "--drop-function=__matchmaking_departed" in finding["advice"]


def test_doctor_finds_nothing_wrong_with_a_daemon_that_starts_meanwhile() -> None:
    server = Address("127.0.0.1", 4730)
    status: Any = SimpleNamespace(
        worker_id="one",
        store_fault=None,
        store_evicts=None,
        servers={},
        matchmaking_topic="m",
        daemon_ttl=60.0,
        functions={},
        limits=None,
        journal_fault=None,
        journal_bytes=None,
        store_memory=None,
        store_max_memory=None,
    )
    before = {"m_one": QueueState(0, 0, 1)}
    facts = Facts(
        1.0, {}, status=status, daemons=[DaemonRow(worker_id="one", age=1.0, barred=False)]
    )
    facts.first = {server: before}
    facts.second = {server: before | {"m_two": QueueState(0, 0, 1)}}
    assert not [found for found in check(facts) if found.check.name.startswith("daemon")]
    facts.first = facts.second
    assert [found.subject for found in check(facts) if found.check.name == "daemon-unknown"] == [
        "two"
    ]
