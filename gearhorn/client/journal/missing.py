# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What an answer lacks of the messages that come after a sequence, and why."""

from itertools import pairwise
from typing import NamedTuple

from gearhorn.messages import Backlog


class Hole(NamedTuple):
    """Numbers that no message has any more."""

    first: int
    last: int
    trimmed: bool
    """The journal's limits ended some of them, or all."""
    gap: bool
    """The store may have lost some of them, or all."""


def holes(found: Backlog, after: int) -> list[Hole]:
    """Return what an answer lacks, up to its last message; without any, up to the journal's."""
    numbers = [message.sequence for message in found.messages] or [found.last + 1]
    lacking = [
        Hole(before + 1, sequence - 1, trimmed=False, gap=True)
        for before, sequence in pairwise([after, *numbers])
        if sequence > before + 1
    ]
    if lacking and lacking[0].first == after + 1 and found.trimmed is True:
        # The numbers may have jumped there, too: elsewhere that would be a hole of its own.
        jumped = found.gap is True and len(lacking) == 1
        lacking[0] = lacking[0]._replace(trimmed=True, gap=jumped)
    return lacking
