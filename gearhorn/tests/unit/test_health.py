# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a daemon says of its health, in each state that it may be in."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from unittest import mock

import pytest

from gearhorn import errors
from gearhorn.cmd.cli import findings
from gearhorn.daemon.daemon import Daemon
from gearhorn.daemon.guard.sample import HALF_READ, ORPHANED, STATES, UNREAD, Sample
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.service.http import Response
from gearhorn.service.site import Site
from gearhorn.service.watching import Watching
from gearhorn.store.base import DaemonEntry
from gearhorn.wire.address import Address

SERVER = Address("one.example", 4730)
LEVELS = {
    kind.name: findings.LEVELS.index(kind.level)
    for kind in vars(findings).values()
    if isinstance(kind, findings.Check) and kind.level != "note"
}
"""By finding of doctor how bad it is, 0 for the worst."""
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
    finding = check["link"].removeprefix("howto/runbook.html#finding-")
    assert finding in LEVELS
    # The page has the same, with its advice and the entry of the runbook.
    (line,) = answer(site, "/")[1]
    assert f"{html.escape(check['advice'])} See {check['link']}</p>" in line
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
    assert remark(site, "late") == f"not seen for long: {names} and 2 more"
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


def _full(daemon: Daemon, *queues: bytes) -> None:
    daemon.survey.seen.server(SERVER).full.update(dict.fromkeys(queues, 5.0))


async def test_queues_that_are_full(daemon: Daemon, site: Site) -> None:
    _full(daemon, b"t_bob")
    assert remark(site, "full") == "1 queue is full: further messages are not sent there"
    _full(daemon, b"t_alice")
    assert remark(site, "full") == "2 queues are full: further messages are not sent there"


def _sampled(daemon: Daemon, *states: str) -> None:
    counts = {**dict.fromkeys(STATES, 0), **dict.fromkeys(states, 2)}
    daemon.survey.sampler.last = Sample(True, 1, 1, 5, 0, counts, 5, 7.5, [])


@pytest.mark.parametrize("discard_after", [0.0, 86_400.0])
async def test_queues_that_ended_subscriptions_left(
    daemon: Daemon, site: Site, discard_after: float
) -> None:
    limits = dataclasses.replace(daemon.settings.limits, discard_after=discard_after)
    daemon.apply(dataclasses.replace(daemon.settings, limits=limits))
    _sampled(daemon, ORPHANED)
    assert remark(site, "orphaned") == "copies wait in 2 queues for which nobody is registered"
    (check,) = [check for check in state(site)["checks"] if not check["ok"]]
    assert ("86400 s after the end, by [limits] discard_after" in check["advice"]) is bool(
        discard_after
    )


_SETTINGS = {"[functions] fanout": "publish"}
_LIMITS = {"[limits] max_waiting": 7}


def _joins(daemon: Daemon, worker_id: str, differing: Mapping[str, object]) -> None:
    """Have a daemon in the store, some of whose settings are others."""
    settings = json.loads(daemon.survey.agreement.text)
    assert settings.keys() >= differing.keys()
    entry = DaemonEntry(1, 1.0, json.dumps({**settings, **differing}))
    daemon.survey.matchmaking.entries[worker_id] = entry


async def test_daemons_that_differ_in_what_all_must_agree_on(daemon: Daemon, site: Site) -> None:
    _joins(daemon, "other", _SETTINGS)
    text = remark(site, "settings")
    assert text == "daemon other differs from this one in [functions] fanout"


async def test_daemons_that_differ_in_limits(daemon: Daemon, site: Site) -> None:
    for worker_id in ("one", "two"):
        _joins(daemon, worker_id, _LIMITS)
    text = remark(site, "limits")
    assert text == "daemons one, two differ from this one in [limits] max_waiting"


async def test_what_a_daemon_has_told_of_itself_does_not_differ(daemon: Daemon, site: Site) -> None:
    # After a reload, until it is told anew.
    _joins(daemon, daemon.worker_id, _LIMITS)
    _joins(daemon, "other", {})
    assert state(site)["level"] == "ok"


async def test_the_first_is_what_doctor_finds_worst(daemon: Daemon, site: Site) -> None:
    daemon.survey.workers.fanouts._window.held = 10
    daemon.survey.marker.connections.clear()
    daemon.survey.store.evicts = "allkeys-lru"
    _joins(daemon, "other", {**_SETTINGS, **_LIMITS})
    daemon.survey.matchmaking.entries["dead"] = DaemonEntry(1, 1000.0)
    _full(daemon, b"t_bob")
    _sampled(daemon, UNREAD, HALF_READ, ORPHANED)

    checks = [check for check in state(site)["checks"] if not check["ok"]]

    assert {check["name"] for check in checks} == {
        *("settings", "away", "evicts", "late", "full", "unread", "half-read", "busy"),
        *("limits", "orphaned"),
    }
    levels = [LEVELS[check["link"].partition("#finding-")[2]] for check in checks]
    assert levels == sorted(levels)
    (line,) = answer(site, "/")[1]
    places = [line.index(f"See {check['link']}</p>") for check in checks]
    assert places == sorted(places)


async def test_what_keeps_it_from_serving_comes_before_all_else(daemon: Daemon, site: Site) -> None:
    _full(daemon, b"t_bob")
    _store_away(daemon)
    first, second = [check for check in state(site)["checks"] if not check["ok"]]
    assert (first["name"], first["link"]) == ("store", "howto/runbook.html#code-store-away")
    assert second["name"] == "full"
