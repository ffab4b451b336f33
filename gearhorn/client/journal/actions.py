# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""What an :class:`~gearhorn.client.journal.order.Order` has done for it, and keeps in mind."""

from typing import Any, NamedTuple, TypeAlias

from gearhorn.client.numbers import Number
from gearhorn.messages import JournalMessage

Token: TypeAlias = Any
"""A copy, which the order only hands back. It can be compared and hashed."""

TRIMMED = "trimmed"
GAP = "gap"


class Show(NamedTuple):
    """Show a message: a copy, or where that is ``None`` what was read.

    ``number`` is ``None`` if the copy has none that is believed.
    """

    copy: Token | None
    number: Number | None
    read: JournalMessage | None = None


class Answer(NamedTuple):
    """Answer a copy of a message that was handled before."""

    copy: Token
    failed: bool


class Read(NamedTuple):
    """Read the journal."""

    after: int
    journal: str | None
    limit: int


class Wait(NamedTuple):
    """Wait a while, for something to come."""


class Tell(NamedTuple):
    """Tell that messages are gone."""

    journal: str
    first: int
    last: int
    why: str


Action: TypeAlias = Show | Answer | Read | Wait | Tell


class Asked(NamedTuple):
    """What is being read.

    :param names: true if it is to tell which journal is today's, and nothing else.
    :param had_come: the copies that had come before.
    :param tells: true if what is not there is gone. If not, its copies may be in the queue.
    """

    read: Read
    names: bool
    had_come: frozenset[int]
    tells: bool


class Loose(NamedTuple):
    """A copy that is shown as it comes."""

    copy: Token
    number: Number | None
