# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Finds out when everything works again after a fault."""

from __future__ import annotations

from collections.abc import Sequence

from gearhorn.tests.ledger.record import (
    Acknowledged,
    Answered,
    AnyEntry,
    Asked,
    Attempt,
    Receipt,
    Seen,
)


class Recovery:
    """Looks for a sign of life of everybody, begun after ``since``.

    Each publisher has had a message of each topic acknowledged, each standing subscriber has
    received one of each topic, whoever
    reads journals has seen one of each, and a registration or removal was answered in each topic.
    """

    def __init__(
        self,
        since: float,
        publishers: Sequence[str],
        topics: Sequence[str],
        standing: Sequence[str],
    ) -> None:
        self._since = since
        self._topics: dict[str, str] = {}
        self._asked: dict[int, str] = {}
        self._missing = {f"{who} publishing to {topic}" for who in publishers for topic in topics}
        self._missing |= {f"{who} receiving of {topic}" for who in standing for topic in topics}
        self._missing |= {f"registrations for {topic}" for topic in topics}

    @property
    def missing(self) -> list[str]:
        """Everything that has given no sign of life."""
        return sorted(self._missing)

    def feed(self, entries: Sequence[AnyEntry]) -> None:
        """Look at what was written down, in the order of time."""
        for entry in entries:
            match entry:
                case Attempt(at=at, message=message, topic=topic) if at > self._since:
                    self._topics[message] = topic
                case Asked(at=at, number=number, topic=topic) if at > self._since:
                    self._asked[number] = topic
                case Acknowledged(by=by, message=message, failed=[]) if message in self._topics:
                    self._missing.discard(f"{by} publishing to {self._topics[message]}")
                case Receipt(client_id=who, message=message) if message in self._topics:
                    self._missing.discard(f"{who} receiving of {self._topics[message]}")
                case Seen(by=who, message=message) if message in self._topics:
                    self._missing.discard(f"{who} receiving of {self._topics[message]}")
                case Answered(number=number) if number in self._asked:
                    self._missing.discard(f"registrations for {self._asked[number]}")
                case _:
                    pass
