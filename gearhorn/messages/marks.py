# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Marks: functions by which job servers show which store a daemon uses or waits for.

``<matchmaking topic>_store_<shop>_<store>``, with ``_waits`` behind it for a daemon that
does not serve. The shop is a digest of the name of the function ``fanout``, as two shops
may share a job server; the store is the beginning of its identity.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gearhorn.messages.names import queue_name

_DIGEST_CHARACTERS = 8
_WAITS = "_waits"
_SHOWN = r"[0-9a-f]{8}(_waits)?"
_is_shown = re.compile(_SHOWN).fullmatch
_is_mark = re.compile(rf"store_[0-9a-f]{{8}}_{_SHOWN}").fullmatch


class Mark(NamedTuple):
    """The mark of a daemon.

    :param store: the tag of the store that it uses or knows.
    :param waits: true if it waits for that store, and serves nothing.
    """

    store: str
    waits: bool = False


class Marks:
    """The marks of the daemons of one shop.

    :param matchmaking_topic: the topic to which the daemons subscribe.
    :param fanout: the name of their function ``fanout``.
    """

    def __init__(self, matchmaking_topic: str, fanout: str) -> None:
        digest = hashlib.sha256(fanout.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        self.prefix = queue_name(matchmaking_topic, f"store_{digest}_")
        """The beginning of all of them."""

    def function(self, mark: Mark) -> str:
        """Return the name of the function that a mark is."""
        return f"{self.prefix}{mark.store}{_WAITS if mark.waits else ''}"

    def read(self, functions: Iterable[str]) -> Iterator[tuple[str, Mark]]:
        """Yield those of the functions that are marks of this shop."""
        for function in functions:
            tail = function.removeprefix(self.prefix)
            if tail != function and _is_shown(tail):
                yield function, Mark(tail.removesuffix(_WAITS), tail.endswith(_WAITS))


def is_mark(tail: str) -> bool:
    """Return true if this, behind the matchmaking topic, makes a mark of any shop."""
    return _is_mark(tail) is not None
