# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a record proves about journals, and about those who read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gearhorn.tests.ledger.record import (
    Acknowledged,
    AnyEntry,
    Attempt,
    Contents,
    Forgot,
    Life,
    Missed,
    Seen,
)


class Place(NamedTuple):
    """The number of a message in a journal."""

    topic: str
    journal: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.sequence} of {self.topic} in {self.journal}"


@dataclasses.dataclass
class Findings:
    """The findings about journals, each a sentence, and their figures."""

    violations: list[str] = dataclasses.field(default_factory=list)
    kept: int = 0
    """Messages in the journals at the end."""
    required: int = 0
    """Messages in them that somebody who reads had to see."""
    seen: int = 0
    again: int = 0
    """Those seen a second time, as the one who saw it was killed with it in hand."""
    told: int = 0
    """Acknowledged messages that somebody did not see, and was told so."""
    trimmed: int = 0
    """Acknowledged messages that the limits of a journal have ended."""
    cut: int = 0
    """Acknowledged messages that Redis lost, since it had not synced them to its disk."""

    def __str__(self) -> str:
        return (
            f"journals: {self.kept} messages at the end, {self.trimmed} trimmed before, "
            f"{self.cut} lost by Redis\n"
            f"seen in order: {self.seen}, {self.required} required, {self.again} a second time "
            f"after a crash, {self.told} told as missed"
        )


def check(entries: Sequence[AnyEntry]) -> Findings:
    """Judge what is about journals in a record; its entries are in the order of time."""
    return _Check(entries).findings()


def unseen(entries: Iterable[AnyEntry], contents: Iterable[Contents]) -> list[str]:
    """Return a line for each message there that somebody who reads has not seen yet."""
    entries = list(entries)
    seen = {(e.by, e.topic, e.journal, e.sequence) for e in entries if isinstance(e, Seen)}
    return [
        f"{who} has not seen {sequence} of {each.topic}"
        for who in sorted({e.by for e in entries if isinstance(e, Life)})
        for each in contents
        for sequence, _, _ in each.messages
        if (who, each.topic, each.journal, sequence) not in seen
    ]


class _Check:
    def __init__(self, entries: Sequence[AnyEntry]) -> None:
        self._entries = entries
        self._attempts = {e.message: e for e in entries if isinstance(e, Attempt)}
        self._losses = [e for e in entries if isinstance(e, Forgot)]
        self._at_the_end: Mapping[str, Contents] = {
            e.topic: e for e in entries if isinstance(e, Contents) and not e.after
        }
        self._kept = {
            Place(each.topic, each.journal, sequence): message
            for each in self._at_the_end.values()
            for sequence, message, _ in each.messages
        }
        self._readers = sorted({e.by for e in entries if isinstance(e, Life)})
        self._names: dict[Place, str] = {}
        self._findings = Findings()

    def findings(self) -> Findings:
        self._findings.kept = len(self._kept)
        self._find_numbers_given_twice()
        self._find_appended_twice()
        self._find_lost()
        for reader in self._readers:
            self._look_at(reader)
        return self._findings

    def _violation(self, text: str) -> None:
        self._findings.violations.append(text)

    def _find_numbers_given_twice(self) -> None:
        for entry in self._entries:
            if isinstance(entry, Acknowledged) and entry.journal is not None:
                topic = self._attempts[entry.message].topic
                self._note(Place(topic, entry.journal, entry.sequence), entry.message)
            elif isinstance(entry, Seen):
                if entry.journal is None:
                    self._violation(f"without a number: {entry.message} to {entry.by}")
                    continue
                place = Place(entry.topic, entry.journal, entry.sequence)
                self._note(place, entry.message, entry.digest)
            elif isinstance(entry, Contents):
                for sequence, message, digest in entry.messages:
                    self._note(Place(entry.topic, entry.journal, sequence), message, digest)

    def _note(self, place: Place, message: str, digest: str | None = None) -> None:
        known = self._names.setdefault(place, message)
        if known != message:
            self._violation(f"number given twice: {place} to {known} and {message}")
        attempt = self._attempts.get(message)
        if attempt is None or attempt.topic != place.topic:
            self._violation(f"never published: {message}, {place}")
        elif digest not in (None, attempt.digest):
            self._violation(f"not intact in a journal: {message}, {place}")

    def _find_appended_twice(self) -> None:
        """Find messages that have two numbers in a journal, though each has one ``id``."""
        first: dict[str, Place] = {}
        for place, message in self._kept.items():
            if message in first:
                self._violation(f"appended twice: {message}, {first[message]} and {place}")
            first.setdefault(message, place)

    def _find_lost(self) -> None:
        there = {*self._kept.values()}
        for entry in self._entries:
            if not isinstance(entry, Acknowledged):
                continue
            attempt = self._attempts[entry.message]
            contents = self._at_the_end.get(attempt.topic)
            if contents is None:
                continue
            if entry.queued:
                # The job server has it, and nobody knows when it was appended.
                is_full = len(contents.messages) >= contents.most
                may_be_cut = any(e.at >= attempt.at for e in self._losses)
                if entry.message not in there and not is_full and not may_be_cut:
                    self._violation(f"lost from a journal: {entry.message}, which was queued")
                continue
            if entry.journal is None:
                self._violation(f"acknowledged without a number: {entry.message}")
                continue
            place = Place(attempt.topic, entry.journal, entry.sequence)
            if self._kept.get(place) == entry.message:
                continue
            if self._is_trimmed(place, contents):
                self._findings.trimmed += 1
            elif any(e.since <= entry.at and attempt.at <= e.at for e in self._losses):
                self._findings.cut += entry.message not in there
            else:
                self._violation(
                    f"lost from a journal: {entry.message}, {place}, acknowledged at {entry.at:.3f}"
                )

    @staticmethod
    def _is_trimmed(place: Place, contents: Contents) -> bool:
        """Return true if the journal is full, and had that number before its first."""
        return (
            place.journal == contents.journal
            and len(contents.messages) >= contents.most
            and place.sequence < contents.messages[0][0]
        )

    def _look_at(self, reader: str) -> None:
        own = [e for e in self._entries if e.by == reader]
        seen = self._find_disorder(reader, own)
        missed = [e for e in own if isinstance(e, Missed)]
        self._findings.seen += len(seen)
        for place in self._kept:
            self._findings.required += 1
            if place not in seen:
                told = " (told as missed)" if _is_told(place, missed) else ""
                self._violation(f"not seen: {place} by {reader}{told}")
        for place in self._names:
            contents = self._at_the_end.get(place.topic)
            if place in seen or contents is None or not self._is_trimmed(place, contents):
                continue
            if _is_told(place, missed):
                self._findings.told += 1
            else:
                self._violation(f"missed without a word: {place} by {reader}")

    def _may_be_cut(self, place: Place, entry: Seen) -> bool:
        """Return true if Redis may have lost what was seen, and it is not there any more."""
        attempt = self._attempts.get(entry.message)
        return (
            place not in self._kept
            and attempt is not None
            and any(loss.since <= entry.at and attempt.at <= loss.at for loss in self._losses)
        )

    def _find_disorder(self, reader: str, own: Sequence[AnyEntry]) -> set[Place]:
        seen: set[Place] = set()
        last: dict[tuple[str, str], int] = {}
        # By topic: what it had when it was killed, which it may see again as the first.
        in_hand: dict[str, Place] = {}
        newest: dict[str, Place] = {}
        has_ended = True
        for entry in own:
            if isinstance(entry, Life):
                if not entry.ends:
                    in_hand = {} if has_ended else {**newest}
                has_ended = entry.ends
            elif isinstance(entry, Seen) and entry.journal is not None:
                place = Place(entry.topic, entry.journal, entry.sequence)
                if in_hand.pop(entry.topic, None) == place:
                    self._findings.again += 1
                elif place in seen:
                    self._violation(f"seen twice: {place} by {reader}")
                elif self._may_be_cut(place, entry):
                    # A number that the journal does not know is shown as it comes.
                    pass
                elif place.sequence < last.get(place[:2], 0):
                    self._violation(f"out of order: {place} by {reader}")
                else:
                    last[place[:2]] = place.sequence
                seen.add(place)
                newest[entry.topic] = place
        return seen


def _is_told(place: Place, missed: Iterable[Missed]) -> bool:
    return any(
        e.topic == place.topic
        and e.journal == place.journal
        and e.first <= place.sequence <= e.last
        for e in missed
    )
