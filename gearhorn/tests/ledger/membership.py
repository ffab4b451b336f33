# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The times at which each subscriber was certainly subscribed, and certainly not.

Certain is what was answered. A request that was not answered may be done at any later time, so it
takes certainty away for good: after an unanswered removal nobody is certain to be subscribed, and
after an unanswered registration nobody is certain not to be. A store that forgets what was answered
takes the certainty of that away too, until it is asked and answered again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from gearhorn.tests.ledger.record import Answered, AnyEntry, Asked, Forgot

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
        self._answered = -math.inf
        """When the last registration was answered."""
        self._late_removal = False
        self._late_registration = False

    def register(self, asked: Asked, answered: float | None) -> None:
        self._end_absence(asked.at)
        if answered is None:
            self._late_registration = True
        elif not self._late_removal:
            self._answered = answered
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

    def forget(self, forgot: Forgot) -> None:
        """Take away what was certain since then; what is answered later is certain again."""
        _cut(self.spans.present, forgot)
        if self._since is not None and forgot.since <= self._since < forgot.at:
            self._end_presence(forgot.began)
            if self._answered > forgot.at:
                self._since = self._answered
        _cut(self.spans.absent, forgot)
        # Somebody who was never registered, since minus infinity, is in no older copy.
        absent_since = self._absent_since
        if absent_since is not None and forgot.since <= absent_since < forgot.at:
            self._end_absence(forgot.began)

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


def _cut(spans: list[Span], forgot: Forgot) -> None:
    """Shorten the spans that reach into the time in which the store forgot."""
    while spans and spans[-1].end > forgot.began and forgot.since <= spans[-1].start < forgot.at:
        start = spans.pop().start
        if start < forgot.began:
            spans.append(Span(start, forgot.began))
            return


def memberships(entries: Sequence[AnyEntry]) -> dict[Key, Spans]:
    """The spans of everybody that was asked for."""
    answered = {entry.number: entry.at for entry in entries if isinstance(entry, Answered)}
    people: dict[Key, _Person] = {}
    for entry in entries:
        if isinstance(entry, Asked):
            person = people.setdefault((entry.topic, entry.client_id), _Person())
            act = person.remove if entry.remove else person.register
            act(entry, answered.get(entry.number))
        elif isinstance(entry, Forgot):
            for person in people.values():
                person.forget(entry)
    return {key: person.finish() for key, person in people.items()}
