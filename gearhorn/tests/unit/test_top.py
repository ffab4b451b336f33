# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""``gearhorn top``: what it makes of two looks, and what its keys do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from gearhorn.cmd.cli.session import NO_ANSWER, OLDER
from gearhorn.cmd.cli.top_look import Frame, Look, frame_of
from gearhorn.cmd.cli.top_screen import Screen, frame_lines, summary
from gearhorn.messages import DaemonRow, StatusRow
from gearhorn.wire.address import Address
from gearhorn.wire.status import QueueState

ONE, TWO = Address("one.example", 4730), Address("two.example", 4730)
HOSTILE = "bad\x1b[2J\n\u202etopic"


def status(worker_id: str, **counters: float) -> StatusRow:
    return StatusRow(
        worker_id=worker_id,
        version="1.0",
        uptime=5.0,
        store_fault=None,
        servers={},
        fanouts=3,
        requests=1,
        cached_topics=0,
        functions={},
        matchmaking_topic="__matchmaking",
        cache_ttl=10.0,
        daemon_ttl=60.0,
        counters={f'{name}_total{{mode="background"}}': value for name, value in counters.items()},
    )


def look(
    taken: float, waiting: int, *statuses: StatusRow, missing: Mapping[str, str] | None = None
) -> Look:
    """A look at three queues, the first of which has so many jobs, on two servers."""
    rows = [DaemonRow(name, 1.0, False) for name in ("a", "b", "older")]
    return Look(
        taken=taken,
        queues={
            ONE: {"t_x": QueueState(waiting, 0, 0), "t_y": QueueState(4, 1, 2)},
            TWO: {"t_y": QueueState(0, 0, 1), f"{HOSTILE}_z": QueueState(100, 0, 1)},
        },
        faults={},
        subscriptions={"t_x": ("t", "x"), "t_y": ("t", "y"), f"{HOSTILE}_z": (HOSTILE, "z")},
        daemons=rows,
        statuses={row.worker_id: row for row in statuses},
        missing=missing or {},
        daemon_ttl=60.0,
    )


@pytest.fixture
def frame() -> Frame:
    before = look(10.0, 5, status("a", fanouts=100), status("b", fanouts=50))
    # The second has been started anew in between, and the third is of an older release.
    return frame_of(before, look(12.0, 9, status("a", fanouts=120), status("b", fanouts=1)))


def test_what_has_changed_between_two_looks(frame: Frame) -> None:
    assert frame.rates["fanouts"] == 10.0
    assert (frame.fanouts, frame.requests, frame.waiting) == (6, 2, 112)
    hostile, topic = frame.topics
    assert topic == {
        "topic": "t",
        "subscribers": 2,
        "waiting": 12,
        "change": 4,
        "running": 1,
        "unread": 1,
    }
    assert (hostile["topic"], hostile["waiting"], hostile["unread"]) == (HOSTILE, 100, 0)
    assert [row["queue"] for row in frame.unread] == ["t_x"]
    assert [row["fanouts"] for row in frame.daemons] == [3, 3, None]


def test_an_idle_topic_without_workers_is_not_unread() -> None:
    before, now = (look(taken, 0, status("a")) for taken in (10.0, 12.0))
    _, topic = frame_of(before, now).topics
    # As gearhorn_topic_unread_queues counts.
    assert (topic["topic"], topic["waiting"], topic["unread"]) == ("t", 3, 0)


def test_a_frame_has_as_many_queues_without_a_worker_as_were_asked_for(frame: Frame) -> None:
    rows = [{"queue": f"q{n}", "waiting": 9 - n, "change": 0} for n in range(9)]
    many = replace(frame, unread=rows)

    def queues(lines: list[str]) -> list[str]:
        return [line.split()[0] for line in lines if line.startswith("q")]

    assert queues(frame_lines(many, 2)) == ["q0", "q1"]
    assert "and 7 more" in frame_lines(many, 2)
    assert queues(frame_lines(many, 20)) == [f"q{n}" for n in range(9)]
    # The screen has less room.
    assert len(queues(Screen().lines(many, 80, 60)[:-1])) == 5


def test_counters_that_only_some_daemons_tell() -> None:
    def older(worker_id: str) -> StatusRow:
        return msgspec.structs.replace(status(worker_id), counters=None)

    before, now = (
        look(taken, 0, status("a", fanouts=n), older("b"), missing={"b": OLDER, "older": NO_ANSWER})
        for taken, n in ((10.0, 100), (12.0, 120))
    )
    frame = frame_of(before, now)
    assert (frame.rates["fanouts"], frame.fanouts) == (10.0, 6)
    lines = summary(frame)
    assert [line.rpartition(": ")[2] for line in lines if "the rates are without" in line] == ["b"]
    assert [line.rpartition(": ")[2] for line in lines if "no answer" in line] == ["older"]
    # Upgraded between the looks.
    assert frame_of(look(10.0, 0, older("a")), now).rates["fanouts"] is None


def test_names_of_silent_daemons_fit_on_a_line(frame: Frame) -> None:
    rows = [{**frame.daemons[0], "worker_id": f"d{n}", "missing": NO_ANSWER} for n in range(9)]
    (line,) = [line for line in summary(replace(frame, daemons=rows)) if "no answer" in line]
    assert line.endswith(": d0, d1, d2, 6 more")


def shown(screen: Screen, frame: Frame, height: int = 40) -> list[str]:
    lines = screen.lines(frame, 80, height)
    assert len(lines) == height
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    return lines


def press(screen: Screen, frame: Frame, *keys: str) -> list[str]:
    for key in keys:
        screen.press(key, frame)
    return shown(screen, frame)


def test_the_deepest_topic_comes_first_unless_another_order_is_chosen(frame: Frame) -> None:
    def first(lines: list[str]) -> str:
        return lines[next(i for i, line in enumerate(lines) if "TOPIC" in line) + 1].split()[1]

    screen = Screen()
    assert first(shown(screen, frame)) == r"bad\x1b[2J\n\u202etopic"
    orders = []
    for _ in range(4):
        lines = press(screen, frame, "s")
        (title,) = [line for line in lines if line.startswith("Topics by ")]
        orders.append((title, first(lines)[0]))
    assert orders == [
        ("Topics by change", "t"),
        ("Topics by subscribers", "t"),
        ("Topics by name", "b"),
        ("Topics by waiting", "b"),
    ]


def test_a_topic_is_found_opened_and_left(frame: Frame) -> None:
    screen = Screen()
    lines = press(screen, frame, "/", "t", "x", "\x7f", "\r", "\x1b[B")
    assert any("with 't'" in line for line in lines)
    lines = press(screen, frame, "\r")
    assert any(line == "Subscribers of t" for line in lines)
    assert [line.split()[0] for line in lines if line.startswith(("x ", "y "))] == ["x", "y"]
    lines = press(screen, frame, "\x1b")
    assert any("with 't'" in line for line in lines)
    lines = press(screen, frame, "\x1b")
    assert any(line == "Topics by waiting" for line in lines)
    press(screen, frame, "q")
    assert screen.ended


@pytest.mark.parametrize("height", [2, 5, 12, 100])
def test_a_screen_of_any_size(frame: Frame, height: int) -> None:
    shown(Screen(), frame, height)


def test_keys_before_the_first_frame_do_no_harm(frame: Frame) -> None:
    screen = Screen()
    for key in ("\r", "\x1b[A", "\x1b[B", "s", "\x1b", "\x1b[99~", "\u202e"):
        screen.press(key, None)
    shown(screen, frame)


def test_a_frame_that_scrolls_by_moves_no_cursor(frame: Frame) -> None:
    lines = frame_lines(frame, 1)
    assert all(line.isprintable() for line in lines)
    assert not any(" t " in line for line in lines[-2:])


def test_nothing_that_could_be_asked() -> None:
    gone: dict[str, Any] = {"queues": {}, "faults": {"one.example:4730": "it is away"}}
    before, now = Look(1.0, **gone), Look(2.0, **gone, fault="it is away")
    lines = frame_lines(frame_of(before, now), 5)
    # Once.
    assert [line for line in lines if "ERROR" in line] == ["ERROR it is away: see gearhorn doctor"]
    assert lines[1] == "in hand: fanouts -, requests -; waiting for subscribers: -"
    assert lines[-5:] == ["Daemons", "unknown", "", "Topics by waiting", "unknown"]
    assert "unknown" in shown(Screen(), frame_of(before, now))


def test_subscriptions_that_were_told_before_are_known(frame: Frame) -> None:
    now = replace(look(12.0, 0, status("a")), daemons=(), fault="the store is away")
    lines = frame_lines(frame_of(look(10.0, 0), replace(now, knows_subscriptions=True)), 5)
    assert lines[lines.index("Daemons") + 1] == "unknown"
    assert not lines[lines.index("Topics by waiting") + 1].startswith("unknown")
