# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The lines in which a daemon names what its store has lost, and why."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from gearhorn.tests.ledger.record import Named

_LINE = re.compile(r"(\S+ \S+) \d+ (?:WARNING|ERROR|CRITICAL) \S+ \[-\] (.*)")

_ANOTHER = (
    "The store was emptied or is another one",
    "going on with the store",
    "the store was empty: made a new one",
)
_WENT_BACK = "The store went back to an older state"
_NAMES: Mapping[str, Sequence[str]] = {
    "emptied": (*_ANOTHER, _WENT_BACK),
    "swapped": _ANOTHER,
    "restored": (_WENT_BACK, "Redis was restarted or failed over"),
    # The topic follows.
    "evicted": ("The set of topic", "cannot be rebuilt; jobs wait", *_ANOTHER),
}
"""The beginnings of lines, or parts of them, that name what each kind of loss has taken."""

_ROUNDING_S = 1.5
"""A line tells whole seconds, and of a renewal that came a moment before."""


def lines(daemon: str, log: str) -> Iterator[Named]:
    """Yield the lines of WARNING and above, with the time of the record."""
    offset = time.monotonic() - time.time()
    for line in log.splitlines():
        if (found := _LINE.match(line)) is not None:
            at = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S.%f").timestamp()
            yield Named(at=at + offset, by=daemon, text=found[2])


def names(line: Named, kind: str, topic: str, registered: float) -> bool:
    """Return true if the line names the loss of a registration that was answered at that time."""
    if not any(part in line.text for part in _NAMES[kind]):
        return False
    if "topic '" in line.text and f"topic {topic!r}" not in line.text:
        return False
    return registered >= _since(line)


def _since(line: Named) -> float:
    """Return the time since when the line says that registrations may be missing."""
    ago = re.search(r"newest renewal of a daemon in it, (\d+) seconds ago", line.text)
    return -math.inf if ago is None else line.at - int(ago[1]) - _ROUNDING_S
