# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What ``gearhorn top`` sees: looks at queues and daemons, and what has changed between two."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gearhorn import errors
from gearhorn.cmd.cli.session import OLDER, Queues, Session, told, total
from gearhorn.cmd.cli.show import state_of
from gearhorn.messages import DaemonRow, StatusRow

RATES = {
    "fanouts": "fanouts_total",
    "copies_queued": "copies_queued_total",
    "copies_delivered": "copies_delivered_total",
    "copies_failed": "copies_failed_total",
    "requests": "requests_total",
}
"""What is shown as so much a second, and the counter of each."""

SUBSCRIPTIONS_S = 30.0
"""The seconds after which the subscriptions are asked for again: there may be many."""


@dataclass
class Look:
    """One look.

    :param faults: the servers that did not answer, and why.
    :param statuses: the status of each daemon that told it, by worker id.
    :param missing: why numbers of the others are missing, or the counters of these.
    """

    taken: float
    queues: Queues
    faults: Mapping[str, str]
    subscriptions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    daemons: Sequence[DaemonRow] = ()
    statuses: Mapping[str, StatusRow] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    daemon_ttl: float = 0.0
    fault: str | None = None
    """Why no daemon has told of subscriptions and daemons."""
    knows_daemons: bool = False
    knows_subscriptions: bool = False
    """True also where they were told at a look before."""
    is_answered: bool = False
    """True if a daemon has told its status."""


class Looker:
    """Looks again and again, and remembers the subscriptions for a while."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._subscriptions: dict[str, tuple[str, str]] = {}
        self._asked: float | None = None

    async def look(self) -> Look:
        """Look at everything once."""
        session = self._session
        queues, faults = await session.queues()
        look = Look(time.monotonic(), queues, {str(s): str(f) for s, f in faults.items()})
        try:
            any_status = await session.status()
            look.is_answered = True
            look.daemon_ttl = any_status.daemon_ttl
            look.daemons = await session.daemons()
            look.knows_daemons = True
            answers = await session.statuses(any_status, look.daemons, queues)
            look.statuses = told(answers)
            look.missing = {
                name: reason for name, answer in answers.items() if (reason := _missing(answer))
            }
            await self._read_subscriptions(any_status.matchmaking_topic)
        except errors.GearhornError as error:
            look.fault = str(error)
        look.knows_subscriptions = self._asked is not None
        look.subscriptions = dict(self._subscriptions)
        return look

    async def _read_subscriptions(self, matchmaking_topic: str) -> None:
        now = time.monotonic()
        if self._asked is not None and now - self._asked < SUBSCRIPTIONS_S:
            return
        found = {}
        for topic in await self._session.topics():
            if topic.topic != matchmaking_topic:
                for subscriber in await self._session.subscribers(topic.topic):
                    found[subscriber.queue] = (topic.topic, subscriber.client_id)
        self._subscriptions, self._asked = found, now


@dataclass(frozen=True)
class Frame:
    """What is shown at a time: the newer of two looks, and what has changed since the older."""

    seconds: float
    rates: Mapping[str, float | None]
    """``None`` where no daemon tells its counters."""
    fanouts: int
    requests: int
    waiting: int
    topics: Sequence[Mapping[str, Any]]
    unread: Sequence[Mapping[str, Any]]
    daemons: Sequence[Mapping[str, Any]]
    faults: Mapping[str, str]
    fault: str | None
    subscribers: Sequence[Mapping[str, Any]]
    knows_daemons: bool = True
    knows_subscriptions: bool = True
    knows_status: bool = True
    knows_waiting: bool = True
    """False where nobody has told, so that an empty list or 0 means nothing."""

    def document(self, most: int) -> dict[str, Any]:
        """Return the frame for programs, with so many topics and queues at the most."""
        return {
            "seconds": round(self.seconds, 3),
            "rates": {
                name: None if rate is None else round(rate, 3) for name, rate in self.rates.items()
            },
            "fanouts": self.fanouts,
            "requests": self.requests,
            "waiting": self.waiting,
            "topics": list(self.topics[:most]),
            "unread": list(self.unread[:most]),
            "daemons": list(self.daemons),
            "faults": dict(self.faults),
            "fault": self.fault,
        }


def frame_of(before: Look, now: Look) -> Frame:
    """Compare two looks."""
    seconds = max(now.taken - before.taken, 0.001)
    subscribers = [
        _subscriber(before, now, queue, topic, client_id)
        for queue, (topic, client_id) in now.subscriptions.items()
    ]
    topics: dict[str, dict[str, Any]] = {}
    for row in subscribers:
        topic = topics.setdefault(
            row["topic"],
            {
                "topic": row["topic"],
                "subscribers": 0,
                "waiting": 0,
                "change": 0,
                "running": 0,
                "unread": 0,
            },
        )
        topic["subscribers"] += 1
        topic["unread"] += _is_unread(row)
        for name in ("waiting", "change", "running"):
            topic[name] += row[name]
    unread = list(filter(_is_unread, subscribers))
    return Frame(
        seconds=seconds,
        rates=_rates(before, now, seconds),
        fanouts=sum(status.fanouts for status in now.statuses.values()),
        requests=sum(status.requests for status in now.statuses.values()),
        waiting=sum(row["waiting"] for row in subscribers),
        topics=sorted(topics.values(), key=lambda row: (-row["waiting"], row["topic"])),
        unread=sorted(unread, key=lambda row: (-row["waiting"], row["queue"])),
        daemons=[_daemon(row, now) for row in now.daemons],
        faults=now.faults,
        fault=now.fault,
        subscribers=sorted(subscribers, key=lambda row: (-row["waiting"], row["queue"])),
        knows_daemons=now.knows_daemons,
        knows_subscriptions=now.knows_subscriptions,
        knows_status=bool(now.statuses),
        knows_waiting=now.knows_subscriptions and bool(now.queues),
    )


def _missing(answer: StatusRow | str) -> str | None:
    """Return why the numbers of a daemon are missing, or only its counters; None if none are."""
    if isinstance(answer, str):
        return answer
    return OLDER if answer.counters is None else None


def _rates(before: Look, now: Look, seconds: float) -> dict[str, float | None]:
    """Return what was done a second by the daemons that told their counters both times."""
    told = [
        (earlier.counters, status.counters)
        for worker_id, status in now.statuses.items()
        if status.counters is not None
        and (earlier := before.statuses.get(worker_id)) is not None
        and earlier.counters is not None
    ]
    if not told:
        return dict.fromkeys(RATES)
    return {
        # One that was started anew begins at 0.
        name: sum(max(0.0, _sum(after, counter) - _sum(first, counter)) for first, after in told)
        / seconds
        for name, counter in RATES.items()
    }


def _sum(counters: Mapping[str, float], name: str) -> float:
    """Return a counter, summed over its labels."""
    return sum(value for key, value in counters.items() if key.partition("{")[0] == name)


def _subscriber(before: Look, now: Look, queue: str, topic: str, client_id: str) -> dict[str, Any]:
    state = total(now.queues, queue)
    earlier = total(before.queues, queue)
    waiting = state.total - state.running
    return {
        "queue": queue,
        "topic": topic,
        "client_id": client_id,
        "waiting": waiting,
        "change": waiting - (earlier.total - earlier.running),
        "running": state.running,
        "workers": state.workers,
    }


def _is_unread(row: Mapping[str, Any]) -> bool:
    """Return true for a queue that the metrics call unread."""
    return row["waiting"] > 0 and not row["workers"]


def _daemon(row: DaemonRow, look: Look) -> dict[str, Any]:
    status = look.statuses.get(row.worker_id)
    return {
        "worker_id": row.worker_id,
        "state": state_of(row, look.daemon_ttl),
        "fanouts": None if status is None else status.fanouts,
        "requests": None if status is None else status.requests,
        "store_fault": None if status is None else status.store_fault,
        "uptime": None if status is None else status.uptime,
        "version": None if status is None else status.version,
        "missing": look.missing.get(row.worker_id),
    }
