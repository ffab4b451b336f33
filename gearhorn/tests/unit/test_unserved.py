# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which queues nobody serves, by what looks show."""

from __future__ import annotations

import pytest

from gearhorn.daemon.guard import unserved
from gearhorn.daemon.guard.unserved import Unserved
from gearhorn.tasks import at_once
from gearhorn.wire.address import Address
from gearhorn.wire.look import Look

ONE, OTHER = Address("one", 4730), Address("other", 4730)


def look(
    jobs: dict[bytes, int],
    running: dict[bytes, int] | None = None,
    workers: dict[bytes, int] | None = None,
) -> Look:
    return Look(jobs, running or {}, workers or {})


@pytest.fixture
def queues() -> Unserved:
    return Unserved([ONE, OTHER])


def test_something_waits_and_nobody_is_there(queues: Unserved) -> None:
    queues.looked(ONE, look({b"dead": 3, b"busy": 1, b"held": 2}, {b"held": 2}, {b"busy": 1}), 1)
    queues.looked(OTHER, look({b"dead": 1, b"there": 1}), 2)
    assert at_once(queues.found()) == {b"dead", b"there"}
    assert queues.holding(b"dead") == [ONE, OTHER]
    assert queues.holding(b"held") == []


def test_a_worker_on_another_server_serves_it(queues: Unserved) -> None:
    queues.looked(ONE, look({b"dead": 3}), 1)
    queues.looked(OTHER, look({}, workers={b"dead": 1}), 1)
    assert at_once(queues.found()) == set()


@pytest.mark.parametrize("between", [look({b"q": 3}, workers={b"q": 1}), look({b"q": 2})])
def test_what_any_look_has_shown_counts_until_the_next_round(
    queues: Unserved, between: Look
) -> None:
    deep = look({b"q": 3})
    for server in (ONE, OTHER):
        queues.looked(server, deep, 1)
    queues.watch(at_once(queues.found()))
    queues.looked(ONE, between, 2)
    queues.looked(ONE, deep, 3)
    assert queues.served == {b"q"}
    assert at_once(queues.found()) == set()
    queues.watch([b"q"])
    queues.looked(ONE, deep, 4)
    assert at_once(queues.found()) == {b"q"}


def test_a_round_is_done_when_each_server_was_looked_at(queues: Unserved) -> None:
    queues.looked(ONE, look({}), 5)
    assert not queues.is_complete(1)
    queues.looked(OTHER, look({}), 4)
    assert queues.is_complete(4)
    assert not queues.is_complete(4.5)


def test_many_queues_are_compared_once_a_second(
    queues: Unserved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "MANY", 1)
    queues.watch([b"a", b"b"])
    queues.looked(ONE, look({b"a": 2}), 1)
    queues.looked(ONE, look({b"a": 1}), 1.5)
    assert queues.served == set()
    queues.looked(ONE, look({b"a": 1}), 2)
    assert queues.served == {b"a"}
