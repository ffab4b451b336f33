# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a daemon was told of the journals, by which it notices a store that went back."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from gearhorn.store.journal import Answer, Append, Appended, Head, JournalRow

_ASKED_AT_ONCE = 100
"""The journals that are asked for in one call of the store."""


class Told:
    """The last sequence of each journal that a daemon was given.

    A store that has less under the same id went back, and gives none of these again. Only a
    journal that has ended is forgotten: none goes on under its id.
    """

    def __init__(self) -> None:
        self._heads: dict[str, Head] = {}
        """By topic, those that were appended to last at the end."""

    def __len__(self) -> int:
        return len(self._heads)

    def of(self, topic: str) -> Head | None:
        """Return what this daemon was told last of a topic's journal."""
        return self._heads.get(topic)

    def note(self, turn: Sequence[Append], answers: Sequence[Answer]) -> None:
        """Take the answers to appends."""
        for append, answer in zip(turn, answers, strict=True):
            if not isinstance(answer, Appended) or not answer.placed:
                continue
            before = self._heads.pop(append.topic, None)
            last = before.sequence if before and before.journal == answer.journal else 0
            for place, entry in zip(answer.placed, append.entries, strict=True):
                # Those of duplicates are lower.
                last = max(last, place.sequence + (0 if place.first else len(entry.payloads) - 1))
            self._heads[append.topic] = Head(answer.journal, last)

    async def forget_ended(
        self, most: int, rows: Callable[[Sequence[str]], Awaitable[Sequence[JournalRow]]]
    ) -> None:
        """Forget journals that the store has no more, the longest unused first.

        :param most: how many are kept in any case.
        :param rows: those of a store of journals.
        """
        topics = iter(tuple(self._heads))
        while len(self) > most and (some := tuple(islice(topics, _ASKED_AT_ONCE))):
            asked = {topic: self._heads.get(topic) for topic in some}
            there = {row.topic: row.journal for row in await rows(some)}
            for topic, head in asked.items():
                if (
                    len(self) > most
                    and head is not None
                    and head.journal != there.get(topic)
                    # It was not appended to meanwhile.
                    and self._heads.get(topic) is head
                ):
                    del self._heads[topic]
