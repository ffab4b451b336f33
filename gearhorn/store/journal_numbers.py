# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the stores of journals share about sequences and times."""

from collections.abc import MutableMapping, Sequence

from gearhorn.store.journal import Answer, Append, Appended, Head, JournalMessage


def milliseconds(seconds: float) -> int:
    """Return no 0, which is for ever, for the shortest of times."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def note_told(
    told: MutableMapping[str, Head], turn: Sequence[Append], answers: Sequence[Answer]
) -> None:
    """Note the last sequence that was given in each topic.

    A store that has less under the same id went back, and gives none of these again.
    """
    for append, answer in zip(turn, answers, strict=True):
        if not isinstance(answer, Appended) or not answer.placed:
            continue
        before = told.get(append.topic)
        last = before.sequence if before and before.journal == answer.journal else 0
        for place, entry in zip(answer.placed, append.entries, strict=True):
            # Those of duplicates are lower.
            last = max(last, place.sequence + (0 if place.first else len(entry.payloads) - 1))
        told[append.topic] = Head(answer.journal, last)


def crosses(after: int, jump: int, last: int, messages: Sequence[JournalMessage]) -> bool:
    """Return true if a jump lies between a sequence and the end of the page behind it."""
    return after < jump <= (messages[-1].sequence if messages else last)
