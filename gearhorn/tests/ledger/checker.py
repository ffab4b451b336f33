# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The checker of a record: it finds what was lost, duplicated or unexpected."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gearhorn.tests.ledger import journals
from gearhorn.tests.ledger.membership import NEVER, Key, Span, Spans, memberships
from gearhorn.tests.ledger.naming import names
from gearhorn.tests.ledger.record import (
    Acknowledged,
    AnyEntry,
    Attempt,
    Contents,
    Ended,
    FaultBegan,
    Forgot,
    Healed,
    Named,
    NotAnswered,
    Receipt,
    Recovered,
    Stored,
    Unanswered,
)


@dataclasses.dataclass
class Verdict:
    """The findings of a run, each a sentence, and its figures."""

    violations: list[str] = dataclasses.field(default_factory=list)
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    published: int = 0
    acknowledged: int = 0
    """Messages with a report."""
    unanswered: int = 0
    unanswered_but_received: int = 0
    required: int = 0
    """Copies that an answered message had to bring, to those who were certainly subscribed."""
    full: int = 0
    """Copies that were not sent, says a report, because queues are full."""
    named: int = 0
    """Copies that are lost with a registration that the store forgot, and a line says so."""
    receipts: int = 0
    duplicates: int = 0
    """Receipts of what had been received before, all with a fault in the message's life."""
    registrations: int = 0
    recoveries: list[float] = dataclasses.field(default_factory=list)
    """The time after each round of faults until everything worked, in seconds."""
    journals: journals.Findings | None = None

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        recoveries = sorted(self.recoveries)
        lines = [
            f"faults: {self.faults.total()} ({faults})",
            f"messages: {self.published} published, {self.acknowledged} acknowledged, "
            f"{self.unanswered} without an answer, of which {self.unanswered_but_received} arrived",
            f"copies: {self.receipts} received, {self.required} required, "
            f"{self.duplicates} duplicates under a fault",
            f"registrations and removals answered: {self.registrations}",
        ]
        if self.full:
            lines.append(f"left out, as queues are full: {self.full}")
        if self.journals is not None:
            lines.append(str(self.journals))
        if self.named:
            lines.append(f"lost with what the store forgot, and named: {self.named}")
        if recoveries:
            lines.append(
                f"recovery: {recoveries[len(recoveries) // 2]:.1f} s in the median, "
                f"{recoveries[-1]:.1f} s at the most, of {len(recoveries)} rounds"
            )
        lines.append(f"violations: {len(self.violations)}")
        lines.extend(f"  {violation}" for violation in self.violations)
        return "\n".join(lines)


def check(entries: Sequence[AnyEntry], *, recovery_limit_s: float) -> Verdict:
    """Judge a record; its entries are in the order of time."""
    return _Check(entries, recovery_limit_s).verdict()


class _Check:
    def __init__(self, entries: Sequence[AnyEntry], recovery_limit_s: float) -> None:
        self._entries = entries
        self._limit_s = recovery_limit_s
        self._spans = memberships(entries)
        self._present_by_topic = _present_by_topic(self._spans)
        self._lines = list(self._lines_of_losses())
        self._attempts = {e.message: e for e in entries if isinstance(e, Attempt)}
        self._acknowledged = {e.message: e for e in entries if isinstance(e, Acknowledged)}
        self._receipts: dict[tuple[str, Key], list[Receipt]] = {}
        for entry in entries:
            if isinstance(entry, Receipt):
                key = (entry.message, (entry.topic, entry.client_id))
                self._receipts.setdefault(key, []).append(entry)
        self._troubled = list(_troubled(entries))
        self._repeating = list(_troubled(e for e in entries if not _is_of_subscriber(e)))
        """The times in which a fan-out may be run a second time, with another report."""
        self._verdict = Verdict()

    def verdict(self) -> Verdict:
        self._count()
        self._find_lost()
        self._find_sent_to_full()
        if self._lines:
            self._find_lost_in_silence()
        for (message, key), receipts in self._receipts.items():
            attempt = self._attempts.get(message)
            if attempt is None:
                self._violation(f"never sent: {message!r} to {key}")
            else:
                self._look_at(attempt, key, receipts)
        self._find_forgotten()
        self._judge_recoveries()
        if any(isinstance(entry, Contents) for entry in self._entries):
            found = self._verdict.journals = journals.check(self._entries)
            self._verdict.violations += found.violations
        for entry in self._entries:
            if isinstance(entry, Ended):
                self._violation(f"process: {entry.process} {entry.reason}")
            elif isinstance(entry, (Unanswered, NotAnswered)) and entry.refused:
                self._violation(f"refused: {entry.by}: {entry.reason}")
        return self._verdict

    def lost(self) -> list[str]:
        """Return a line for each copy that the store cannot have forgotten."""
        self._find_lost()
        return self._verdict.violations

    def _violation(self, text: str) -> None:
        self._verdict.violations.append(text)

    def _count(self) -> None:
        verdict = self._verdict
        verdict.faults.update(e.kind for e in self._entries if isinstance(e, FaultBegan))
        verdict.published = len(self._attempts)
        verdict.acknowledged = len(self._acknowledged)
        received = {message for message, _ in self._receipts}
        unanswered = {e.message for e in self._entries if isinstance(e, Unanswered)}
        # Those as well whose publisher was killed before it could say.
        unanswered |= self._attempts.keys() - self._acknowledged.keys()
        verdict.unanswered = len(unanswered)
        verdict.unanswered_but_received = len(unanswered & received)
        verdict.receipts = sum(map(len, self._receipts.values()))
        verdict.registrations = sum(type(e).__name__ == "Answered" for e in self._entries)

    def _find_lost(self) -> None:
        for message, answer in self._acknowledged.items():
            attempt = self._attempts[message]
            for client_id, present in self._present_by_topic.get(attempt.topic, ()):
                if client_id in answer.failed or not _covering(present, attempt.at, _end(answer)):
                    continue
                self._verdict.required += 1
                if (message, (attempt.topic, client_id)) not in self._receipts:
                    kind = "background" if attempt.background else "foreground"
                    self._violation(
                        f"lost: {kind} {message}, acknowledged at {answer.at:.3f}, "
                        f"to {client_id} of {attempt.topic}"
                    )

    def _find_sent_to_full(self) -> None:
        """Find copies that have arrived although a report says that they were not sent."""
        received: dict[str, set[str]] = {}
        for message, (_, client_id) in self._receipts:
            received.setdefault(message, set()).add(client_id)
        # By message or batch: how many more copies may have arrived, and how many were skipped.
        left: Counter[str] = Counter()
        skipped: Counter[str] = Counter()
        unknown: set[str] = set()
        for message, answer in self._acknowledged.items():
            self._verdict.full += len(answer.full) + answer.skipped
            if answer.unsaid:
                self._violation(f"sum: {message} has {answer.unsaid} copies in no count")
            attempt = self._attempts[message]
            name = answer.batch or message
            if any(attempt.at <= end and start <= answer.at for start, end in self._repeating):
                # What was skipped of the others of its batch is not known either.
                unknown.add(name)
                continue
            got = received.get(message, set())
            for client_id in got & {*answer.full}:
                self._violation(f"sent to a full queue: {message} to {client_id}")
            left[name] += answer.subscribers - answer.skipped - len(got)
            skipped[name] += answer.skipped
        for name in left:
            if skipped[name] and left[name] < 0 and name not in unknown:
                self._violation(f"sent to a full queue: {name}, to one of those skipped")

    def _find_lost_in_silence(self) -> None:
        """Find those that had to arrive if the store had not forgotten, and that no line names."""
        remembered = memberships([e for e in self._entries if not isinstance(e, Forgot)])
        if_remembered = _present_by_topic(remembered)
        required_by_topic = {topic: dict(its) for topic, its in self._present_by_topic.items()}
        for message, answer in self._acknowledged.items():
            attempt = self._attempts[message]
            required = required_by_topic.get(attempt.topic, {})
            for client_id, present in if_remembered.get(attempt.topic, ()):
                span = _covering(present, attempt.at, _end(answer))
                if (
                    span is None
                    or client_id in answer.failed
                    or (message, (attempt.topic, client_id)) in self._receipts
                    or _covering(required.get(client_id, ()), attempt.at, _end(answer))
                ):
                    continue
                if self._is_named(attempt.topic, span.start, _end(answer)):
                    self._verdict.named += 1
                else:
                    self._violation(
                        f"lost in silence: {message}, acknowledged at {answer.at:.3f}, to "
                        f"{client_id} of {attempt.topic}, registered at {span.start:.3f}"
                    )

    def _is_named(self, topic: str, registered: float, end: float) -> bool:
        """Return true if a line names a loss that came between these times."""
        return any(
            names(line, forgot.kind, topic, registered)
            for forgot, lines in self._lines
            if registered < forgot.at and forgot.began <= end
            for line in lines
        )

    def _lines_of_losses(self) -> Iterable[tuple[Forgot, list[Named]]]:
        """Yield each loss, and the lines from it until everything worked again."""
        named = [e for e in self._entries if isinstance(e, Named)]
        recovered = [e.at for e in self._entries if isinstance(e, Recovered)]
        for forgot in self._entries:
            if isinstance(forgot, Forgot):
                until = min((at for at in recovered if at >= forgot.at), default=math.inf)
                yield forgot, [line for line in named if forgot.began <= line.at <= until]

    def _look_at(self, attempt: Attempt, key: Key, receipts: Sequence[Receipt]) -> None:
        message = attempt.message
        if key[0] != attempt.topic:
            self._violation(f"wrong topic: {message} of {attempt.topic} to {key}")
        if any(receipt.digest != attempt.digest for receipt in receipts):
            self._violation(f"not intact: {message} to {key}")
        last = receipts[-1].at
        if receipts[0].at < attempt.at:
            self._violation(f"before it was sent: {message} to {key}")
        if len(receipts) > 1:
            self._verdict.duplicates += len(receipts) - 1
            if not self._is_troubled(attempt.at, last):
                self._violation(f"twice without a fault: {message} to {key} until {last:.3f}")
        # Without a fault the list that counts was read before the answer; with one, a second
        # run of it may read the list until the copy is there.
        answer = self._acknowledged.get(message)
        end = last
        reported = answer is not None and not answer.queued
        if answer is not None and reported and not self._is_troubled(attempt.at, answer.at):
            end = answer.at
        spans = self._spans.get(key, NEVER)
        if _covering(spans.absent, attempt.at, end):
            self._violation(f"not subscribed: {message} of {attempt.at:.3f} to {key}")

    def _find_forgotten(self) -> None:
        for entry in self._entries:
            if not isinstance(entry, Stored):
                continue
            for (topic, client_id), spans in self._spans.items():
                stored = client_id in entry.members.get(topic, ())
                if not stored and _covering(spans.present, entry.began, entry.at):
                    self._violation(f"forgotten: {client_id} of {topic} at {entry.at:.3f}")
                if stored and _covering(spans.absent, entry.began, entry.at):
                    self._violation(f"not removed: {client_id} of {topic} at {entry.at:.3f}")

    def _judge_recoveries(self) -> None:
        healed: Healed | None = None
        for entry in self._entries:
            if isinstance(entry, Healed):
                healed = entry
            elif isinstance(entry, Recovered) and healed is not None:
                took = entry.at - healed.at
                self._verdict.recoveries.append(took)
                if entry.missing or took > self._limit_s:
                    what = ", ".join(entry.missing)
                    self._violation(
                        f"not recovered: round {entry.round} after {took:.1f} s: {what}"
                    )

    def _is_troubled(self, start: float, end: float) -> bool:
        return any(start <= span.end and span.start <= end for span in self._troubled)


def _is_of_subscriber(entry: AnyEntry) -> bool:
    """Return true for a fault by which no fan-out is run again."""
    return isinstance(entry, FaultBegan) and entry.target.startswith("subscriber")


def missing_copies(entries: Sequence[AnyEntry]) -> list[str]:
    """Return a line for each copy that must be received and was not yet."""
    return _Check(entries, math.inf).lost()


def _troubled(entries: Iterable[AnyEntry]) -> Iterable[Span]:
    """From the first fault of each round until everything worked again."""
    start: float | None = None
    for entry in entries:
        if isinstance(entry, FaultBegan) and start is None:
            start = entry.at
        elif isinstance(entry, Recovered) and start is not None:
            yield Span(start, entry.at)
            start = None
    if start is not None:
        yield Span(start, math.inf)


def _present_by_topic(spans: Mapping[Key, Spans]) -> dict[str, list[tuple[str, list[Span]]]]:
    found: dict[str, list[tuple[str, list[Span]]]] = {}
    for (topic, client_id), its in spans.items():
        found.setdefault(topic, []).append((client_id, its.present))
    return found


def _end(answer: Acknowledged) -> float:
    """Return the time until which a message reaches those who are subscribed."""
    return math.inf if answer.queued else answer.at


def _covering(spans: Sequence[Span], start: float, end: float) -> Span | None:
    """Return the one of the spans, which are in the order of time, that covers this one."""
    index = bisect.bisect_right(spans, Span(start, math.inf)) - 1
    return spans[index] if index >= 0 and end <= spans[index].end else None
