# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a daemon says of its health, in each state that it may be in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest import mock

import pytest

from gearhorn import errors
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.guard.sample import HALF_READ, STATES, UNREAD, Sample
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.http import Response
from gearhorn.service.site import Site
from gearhorn.service.watching import Watching
from gearhorn.store.base import DaemonEntry
from gearhorn.wire.address import Address

SERVER = Address("one.example", 4730)
HOSTILE = "<b>\u202e"


@pytest.fixture
async def daemon(monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that serves, as far as anybody can see."""
    settings = DaemonSettings(
        servers=(SERVER,), store_url="redis://127.0.0.1:1/0", queue_interval=15.0, max_in_flight=10
    )
    daemon = Daemon(settings)
    daemon.started = True
    for pool in daemon.survey.pools().values():
        pool.connections[SERVER] = mock.Mock()
    monkeypatch.setattr(daemon.survey.submitter, "load", lambda server: (32, 0, 0))
    return daemon


@pytest.fixture
async def site(daemon: Daemon) -> AsyncIterator[Site]:
    watching = Watching(daemon)
    watching.start()
    yield Site(daemon, watching, {})
    watching.close()


def answer(site: Site, path: str, query: str = "") -> tuple[int, list[str]]:
    response = site.respond(path, query)
    assert isinstance(response, Response)
    return int(response.status), response.body.decode().splitlines()


def state(site: Site) -> Any:
    (line,) = answer(site, "/status.json")[1]
    return json.loads(line)


def remark(site: Site, name: str) -> Any:
    """What is worth a word, and nothing else is."""
    found = state(site)
    assert found["ready"]
    assert (found["level"], found["verdict"]) == (
        "warning",
        "It serves, and something needs attention.",
    )
    (check,) = [check for check in found["checks"] if not check["ok"]]
    assert check["name"] == name
    assert check["advice"]
    # The page has the same, with its advice.
    text = answer(site, "/")[1]
    assert any(check["advice"].split(":")[0] in line for line in text)
    return check["text"]


async def test_nothing_is_to_be_done(site: Site) -> None:
    for path in ("/livez", "/healthz", "/readyz", "/startupz"):
        assert answer(site, path) == (200, ["ok"])
    assert state(site)["verdict"] == "It serves, and nothing is to be done."
    assert answer(site, "/livez", "verbose") == (200, ["[+] live: it answers", "ok"])


async def test_a_daemon_of_which_a_part_has_ended_is_not_live(daemon: Daemon, site: Site) -> None:
    daemon._failed(RuntimeError("a part"))
    for path in ("/livez", "/healthz"):
        status, (line, last) = answer(site, path)
        assert (status, last) == (503, "failed")
        assert line == "[-] live: a part that it cannot do without has ended. The log says why."


def _not_started(daemon: Daemon) -> None:
    daemon.started = False


def _without_readers(daemon: Daemon) -> None:
    daemon.survey.workers.reads.connections.clear()


def _store_away(daemon: Daemon) -> None:
    daemon.survey.patience.fault = errors.StoreAway("no answer")


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (_not_started, "[-] started: it has not started yet. It waits for a job server or for "),
        (_without_readers, "[-] job-servers: no job server is connected for read. Check that "),
        (_store_away, "[-] store: store_away: no answer. The store is away; jobs wait until "),
    ],
)
async def test_a_daemon_that_does_not_serve_is_live_and_not_ready(
    daemon: Daemon, site: Site, happens: Callable[[Daemon], None], told: str
) -> None:
    happens(daemon)
    status, lines = answer(site, "/readyz")
    assert (status, len(lines), lines[-1]) == (503, 2, "failed")
    assert lines[0].startswith(told)
    assert answer(site, "/livez")[0] == 200
    assert answer(site, "/startupz")[0] == (200 if daemon.started else 503)
    found = state(site)
    assert (found["ready"], found["level"], found["verdict"]) == (
        False,
        "error",
        "It does not serve.",
    )


async def test_daemons_that_were_not_seen_for_long(daemon: Daemon, site: Site) -> None:
    entries = {f"{HOSTILE}{n}": DaemonEntry(n + 1, 1000.0) for n in range(7)}
    daemon.survey.matchmaking.entries.update(entries)
    names = ", ".join(f"{HOSTILE}{n}" for n in range(5))
    assert remark(site, "late") == f"not seen for long: {names}"
    assert not any(HOSTILE in line for line in answer(site, "/")[1])


async def test_many_fan_outs_on_their_way(daemon: Daemon, site: Site) -> None:
    window = daemon.survey.workers.fanouts._window
    window.held = 9
    assert state(site)["level"] == "ok"
    window.held = 10
    assert remark(site, "busy") == "10 fan-outs are on their way, of 10 at the most"


@pytest.mark.parametrize(
    ("queues", "name", "text"),
    [
        ({UNREAD: 1}, "unread", "no worker reads 1 queue in which copies wait"),
        (
            {HALF_READ: 2},
            "half-read",
            "on a job server where copies wait no worker reads 2 queues",
        ),
    ],
)
async def test_queues_that_nobody_reads(
    daemon: Daemon, site: Site, queues: dict[str, int], name: str, text: str
) -> None:
    states = {**dict.fromkeys(STATES, 0), **queues}
    daemon.survey.sampler.last = Sample(True, 1, 1, 5, 0, states, 5, 7.5, [])
    assert remark(site, name) == text


async def test_a_redis_that_evicts(daemon: Daemon, site: Site) -> None:
    daemon.survey.store.evicts = "allkeys-lru"
    assert "(allkeys-lru)" in remark(site, "evicts")
