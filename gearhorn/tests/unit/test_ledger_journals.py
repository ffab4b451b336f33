# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the ledger finds about journals, in records that are wrong on purpose."""

from __future__ import annotations

from typing import Any

import pytest

from gearhorn.tests.ledger import record as r
from gearhorn.tests.ledger.checker import check
from gearhorn.tests.ledger.journals import unseen

# Three messages of a topic, of which alice sees all from the first on.

NAMES = ("m1", "m2", "m3")


def published(name: str, at: float, sequence: int, **keys: Any) -> list[r.AnyEntry]:
    """A message that is acknowledged under a number."""
    given = {"failed": [], "journal": "j", "sequence": sequence, **keys}
    return [
        r.Attempt(at=at, by="p", message=name, topic="t", digest=name, background=True),
        r.Acknowledged(at=at + 0.5, by="p", message=name, **given),
    ]


def seen(name: str, at: float, sequence: int, **keys: Any) -> r.Seen:
    given = {"topic": "t", "journal": "j", "digest": name, **keys}
    return r.Seen(at=at, by="alice", message=name, sequence=sequence, **given)


def life(at: float, *, ends: bool = False) -> r.Life:
    return r.Life(at=at, by="alice", ends=ends)


def missed(first: int, last: int, why: str) -> r.Missed:
    return r.Missed(at=6, by="alice", topic="t", journal="j", first=first, last=last, why=why)


def contents(*numbers: int, most: int = 100, **names: str) -> r.Contents:
    """The journal at the end; a number may have another name than its own."""
    messages = [(n, name := names.get(f"m{n}", f"m{n}"), name) for n in numbers]
    return r.Contents(at=20, by="x", topic="t", journal="j", after=0, most=most, messages=messages)


def findings(*entries: r.AnyEntry) -> list[str]:
    in_order = sorted(entries, key=lambda entry: entry.at)
    verdict = check(in_order, recovery_limit_s=10)
    return [violation.partition(":")[0] for violation in verdict.violations]


PUBLISHED = [entry for n, name in enumerate(NAMES, 1) for entry in published(name, n, n)]
SEEN = [seen(name, 6 + n, n) for n, name in enumerate(NAMES, 1)]
BEGAN = life(0.5)
ALL = contents(1, 2, 3)


def test_it_is_content_with_what_is_right() -> None:
    assert findings(*PUBLISHED, BEGAN, *SEEN, ALL) == []
    # What has no answer may be there or not.
    assert findings(PUBLISHED[0], BEGAN, contents()) == []
    assert findings(PUBLISHED[0], BEGAN, seen("m1", 6, 1), contents(1)) == []
    # Where topics have no journals nothing is asked of numbers.
    assert findings(*published("m1", 1, 0, journal=None)) == []


@pytest.mark.parametrize(
    ("found", "entries"),
    [
        (["lost from a journal"], [contents(1, 2), *SEEN[:2]]),
        (["lost from a journal"], [contents(2, 3), *SEEN[1:]]),
        (
            ["number given twice", "seen twice"],
            [ALL, *SEEN, published("m4", 4, 3)[0], seen("m4", 11, 3)],
        ),
        (
            ["number given twice", "lost from a journal"],
            [ALL, *SEEN, *published("m4", 4, 3)],
        ),
        (["appended twice"], [contents(1, 2, 3, 4, m4="m2"), *SEEN, seen("m2", 10, 4)]),
        (["acknowledged without a number"], [ALL, *SEEN, *published("m4", 4, 0, journal=None)]),
        (["without a number"], [ALL, *SEEN, seen("m2", 11, 0, journal=None)]),
        (["never published"], [ALL, *SEEN, seen("m9", 11, 9)]),
        (["not intact in a journal"], [ALL, *SEEN[:2], seen("m3", 11, 3, digest="else")]),
        (["not seen"], [ALL, *SEEN[:2]]),
        (["not seen"], [ALL, *SEEN[1:]]),
        (["not seen"], [ALL, *SEEN[1:], missed(1, 1, "gap")]),
        (["out of order"], [ALL, SEEN[0], seen("m3", 8, 3), seen("m2", 9, 2)]),
        (["seen twice"], [ALL, *SEEN, seen("m3", 11, 3)]),
    ],
)
def test_it_finds(found: list[str], entries: list[r.AnyEntry]) -> None:
    assert findings(*PUBLISHED, BEGAN, *entries) == found


@pytest.mark.parametrize(
    ("found", "again"),
    [
        # Killed with the last one in hand.
        ([], [life(10), seen("m3", 11, 3)]),
        # The position had moved on before.
        ([], [life(10)]),
        # Once only, not another one, and not after an end in order.
        (["seen twice"], [life(10), seen("m3", 11, 3), seen("m3", 12, 3)]),
        (["seen twice"], [life(10), seen("m2", 11, 2)]),
        (["seen twice"], [life(9.5, ends=True), life(10), seen("m3", 11, 3)]),
        # Somebody else's crash is none of its own.
        (
            ["seen twice", *["not seen"] * 3],
            [r.Life(at=10, by="bob", ends=False), seen("m3", 11, 3)],
        ),
    ],
)
def test_it_allows_a_second_time_for_what_was_in_hand_at_a_crash(
    found: list[str], again: list[r.AnyEntry]
) -> None:
    assert findings(*PUBLISHED, BEGAN, *SEEN, ALL, *again) == found


@pytest.mark.parametrize(
    ("found", "entries"),
    [
        ([], [contents(3, most=1), *SEEN]),
        ([], [contents(3, most=1), SEEN[2], missed(1, 2, "trimmed")]),
        (["missed without a word"], [contents(3, most=1), SEEN[2], missed(1, 1, "trimmed")]),
        # It was not full, so nothing was trimmed.
        (["lost from a journal"] * 2, [contents(3, most=2), *SEEN]),
        # What is there may not be called gone.
        (["not seen"], [contents(2, 3, most=2), SEEN[0], SEEN[2], missed(2, 2, "trimmed")]),
    ],
)
def test_it_knows_what_a_limit_has_ended(found: list[str], entries: list[r.AnyEntry]) -> None:
    assert findings(*PUBLISHED, BEGAN, *entries) == found


@pytest.mark.parametrize(
    ("found", "numbers", "most"), [(["lost from a journal"], [], 1), ([], [1], 2), ([], [2], 1)]
)
def test_what_a_job_server_has_acknowledged_has_to_be_there_at_the_end(
    found: list[str], numbers: list[int], most: int
) -> None:
    entries = [*published("m1", 1, 0, journal=None, queued=True), *published("m2", 2, 2)]
    # Where the journal is full, it may have been trimmed.
    kept = contents(*{*numbers, 2}, most=most + (not numbers))
    assert findings(*entries, kept) == found


LOSS = r.Forgot(at=5, by="x", began=4, since=2.8, kind="restored")


@pytest.mark.parametrize(
    ("found", "entries"),
    [
        ([], [contents(1, 2), *SEEN]),
        # What was answered before the time that the loss reaches back to has to be there.
        (["lost from a journal"], [contents(1), *SEEN[:2]]),
        # A copy of what was lost is shown as it comes; what is there is not.
        ([], [contents(1, 2), seen("m3", 5, 3), *SEEN[:2]]),
        (["out of order"], [contents(1, 2), SEEN[1], seen("m1", 9, 1)]),
        # The number that was lost is nobody else's.
        (["number given twice"], [contents(1, 2, 3, m3="m4"), *SEEN, *published("m4", 5.5, 3)]),
    ],
)
def test_it_knows_what_redis_may_have_lost(found: list[str], entries: list[r.AnyEntry]) -> None:
    assert set(findings(*PUBLISHED, BEGAN, LOSS, *entries)) == {*found}


def test_it_waits_for_those_who_have_not_seen_everything() -> None:
    assert unseen([BEGAN, *SEEN[:2]], [ALL]) == ["alice has not seen 3 of t"]
    assert unseen([BEGAN, *SEEN], [ALL]) == []


@pytest.mark.parametrize(("skipped", "found"), [(1, []), (2, ["sent to a full queue"])])
def test_it_knows_of_a_batch_how_many_copies_were_skipped_and_not_of_which_message(
    skipped: int, found: list[str]
) -> None:
    batch: list[r.AnyEntry] = []
    for name, its_skipped in (("m1", skipped), ("m2", 0)):
        given: Any = {"skipped": its_skipped, "subscribers": 1, "batch": "b"}
        batch += published(name, 1, 0, journal=None, **given)
    receipt = r.Receipt(at=2, by="s", message="m1", topic="t", client_id="bob", digest="m1")
    registered: list[r.AnyEntry] = [
        r.Asked(at=0.1, by="r", number=0, topic="t", client_id="bob", remove=False),
        r.Answered(at=1.2, by="r", number=0),
    ]
    assert findings(*registered, *batch, receipt) == found
