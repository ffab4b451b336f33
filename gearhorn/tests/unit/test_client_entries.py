# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What a reader is told of what is missing before a message."""

from __future__ import annotations

from typing import Any

import pytest

from gearhorn.client.journal.entries import entries_of
from gearhorn.messages import Backlog, JournalMessage

JUMP = 10**15


def told(
    after: int, *numbers: int, before: tuple[str, ...] = (), **keys: Any
) -> dict[int, tuple[str, ...]]:
    """The numbers of the messages that tell of something, and what they tell."""
    messages = [JournalMessage(number, 0.0, "") for number in numbers]
    found = Backlog(topic="t", journal="1", first=1, last=JUMP * 2, messages=messages, **keys)
    said = {name: name in before for name in ("reset", "trimmed", "gap")}
    return {
        entry.sequence: names
        for entry in entries_of(found, after, **said)
        if (names := tuple(name for name in said if getattr(entry, name)))
    }


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (told(3, 4, 5), {}),
        (told(3, 5, 6, trimmed=True), {5: ("trimmed",)}),
        (told(3, 4, JUMP, gap=True), {JUMP: ("gap",)}),
        (told(3, JUMP, JUMP + 1, gap=True), {JUMP: ("gap",)}),
        # Of what is missing before the first, some was trimmed, and some may have been lost.
        (told(3, JUMP, JUMP + 1, trimmed=True, gap=True), {JUMP: ("trimmed", "gap")}),
        # Here these are two places.
        (told(3, 5, JUMP, trimmed=True, gap=True), {5: ("trimmed",), JUMP: ("gap",)}),
        # The clock was behind, so that the numbers go on.
        (told(0, 1, 2, gap=True, before=("reset",)), {1: ("reset", "gap")}),
        # An answer before had no messages.
        (told(9, 10, before=("trimmed",)), {10: ("trimmed",)}),
        (told(9, 10, before=("trimmed", "gap")), {10: ("trimmed", "gap")}),
        (told(9, 10, before=("gap",)), {10: ("gap",)}),
    ],
)
def test_a_message_says_what_is_missing_before_it(
    found: dict[int, tuple[str, ...]], expected: dict[int, tuple[str, ...]]
) -> None:
    assert found == expected
