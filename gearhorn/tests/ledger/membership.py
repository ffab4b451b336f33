# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The times at which each subscriber was certainly subscribed, and certainly not.

Certain is what was answered. A request that was not answered may be done at any later time, so it
takes certainty away for good: after an unanswered removal nobody is certain to be subscribed, and
after an unanswered registration nobody is certain not to be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gearhorn.tests.ledger.record import Answered, AnyEntry, Asked

Key = tuple[str, str]
"""A topic and a client_id."""


class Span(NamedTuple):
    """From one time to another."""

    start: float
    end: float


class Spans(NamedTuple):
    """The times at which one subscriber was certainly subscribed, and certainly not."""

    present: list[Span]
    absent: list[Span]


NEVER = Spans([], [Span(-math.inf, math.inf)])
"""Those of somebody that nobody ever asked for."""


class _Person:
    """Follows the requests about one subscriber, which come one after the other."""

    def __init__(self) -> None:
        self.spans = Spans([], [])
        self._since: float | None = None
        self._expires = math.inf
        self._absent_since: float | None = -math.inf
        self._late_removal = False
        self._late_registration = False

    def register(self, asked: Asked, answered: float | None) -> None:
        self._end_absence(asked.at)
        if answered is None:
            self._late_registration = True
        elif not self._late_removal:
            # It was done at some time between the question and the answer.
            if self._since is not None and self._expires < answered:
                self._end_presence(self._expires)
            if self._since is None:
                self._since = answered
            self._expires = math.inf if asked.ttl is None else asked.at + asked.ttl

    def remove(self, asked: Asked, answered: float | None) -> None:
        self._end_presence(asked.at)
        if answered is None:
            self._late_removal = True
        elif not self._late_registration and self._absent_since is None:
            self._absent_since = answered

    def finish(self) -> Spans:
        self._end_presence(math.inf)
        self._end_absence(math.inf)
        return self.spans

    def _end_presence(self, at: float) -> None:
        if self._since is not None:
            end = min(at, self._expires)
            if end > self._since:
                self.spans.present.append(Span(self._since, end))
            self._since = None

    def _end_absence(self, at: float) -> None:
        if self._absent_since is not None:
            self.spans.absent.append(Span(self._absent_since, at))
            self._absent_since = None


def memberships(entries: Sequence[AnyEntry]) -> dict[Key, Spans]:
    """The spans of everybody that was asked for."""
    answered = {entry.number: entry.at for entry in entries if isinstance(entry, Answered)}
    people: dict[Key, _Person] = {}
    for entry in entries:
        if isinstance(entry, Asked):
            person = people.setdefault((entry.topic, entry.client_id), _Person())
            act = person.remove if entry.remove else person.register
            act(entry, answered.get(entry.number))
    return {key: person.finish() for key, person in people.items()}
