# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What the stores of journals share about sequences and times."""

from collections.abc import Sequence

from gearhorn.store.journal import JournalMessage


def milliseconds(seconds: float) -> int:
    """Return no 0, which is for ever, for the shortest of times."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0


def crosses(after: int, jump: int, last: int, messages: Sequence[JournalMessage]) -> bool:
    """Return true if a jump lies between a sequence and the end of the page behind it."""
    return after < jump <= (messages[-1].sequence if messages else last)
