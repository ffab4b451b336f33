# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Which topics have a journal, and within which limits.

A pattern is one of ``fnmatch``, matched with case, and may have limits of its own behind
it, which begin at ``?max_``: ``state.*?max_messages=1&max_age=0``. The first that fits a
topic counts.
"""

import fnmatch
import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from gearhorn import errors, messages
from gearhorn.daemon.journal.settings import JournalSettings
from gearhorn.store.journal import JournalLimits

MOST_MESSAGES = 1_000_000_000
MOST_BYTES = 1 << 50

_LIMITS_BEGIN = "?max_"
_REMEMBERED = 10_000
"""The topics of which is remembered whether they have a journal."""


class Pattern(NamedTuple):
    """A pattern, and the limits of the topics that it fits."""

    text: str
    limits: JournalLimits


def _whole(value: str, most: int) -> int:
    number = int(value) if value.isascii() and value.isdecimal() else 0
    if not 1 <= number <= most:
        raise errors.ConfigurationError(f"{value!r} is no whole number from 1 to {most}")
    return number


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= messages.MAX_SECONDS:
        raise errors.ConfigurationError(
            f"{value!r} is no number of seconds from 0 to {messages.MAX_SECONDS}"
        )
    return number


_READERS: dict[str, Callable[[str], Any]] = {
    "max_messages": lambda value: _whole(value, MOST_MESSAGES),
    "max_bytes": lambda value: _whole(value, MOST_BYTES),
    "max_age": _seconds,
}


def parse(text: str, defaults: JournalLimits) -> Pattern:
    """Return the pattern that is written as ``text``.

    :raises ConfigurationError: its limits are wrong.
    """
    pattern, begin, rest = text.partition(_LIMITS_BEGIN)
    if not pattern:
        raise errors.ConfigurationError(f"{text!r} has no pattern")
    found: dict[str, Any] = {}
    for part in f"max_{rest}".split("&") if begin else ():
        name, _, value = part.partition("=")
        if name not in _READERS:
            raise errors.ConfigurationError(
                f"{text!r}: {name!r} is no limit; known are {', '.join(_READERS)}"
            )
        if name in found:
            raise errors.ConfigurationError(f"{text!r} has {name} twice")
        try:
            found[name] = _READERS[name](value)
        except errors.ConfigurationError as error:
            raise errors.ConfigurationError(f"{text!r}: {name}: {error}") from None
    return Pattern(pattern, JournalLimits(**{**defaults._asdict(), **found}))


class Patterns:
    """The patterns of a daemon, in their order.

    :param never: the matchmaking topic, which has no journal.
    :raises ConfigurationError: one is wrong.
    """

    def __init__(self, settings: JournalSettings, never: str = "") -> None:
        self._never = never
        self.in_force = True
        """False until the store has them, and every daemon knows."""
        self.agreed = True
        """False while they are not known to be those of the store."""
        self.apply(settings)

    def apply(self, settings: JournalSettings) -> None:
        """Go by these limits where a pattern has none of its own; the patterns stay.

        :raises ConfigurationError: a pattern is wrong.
        """
        defaults = JournalLimits(settings.max_messages, settings.max_bytes, settings.max_age)
        self._all = [parse(text, defaults) for text in settings.topics]
        self._fits = [
            (re.compile(fnmatch.translate(pattern.text)).match, pattern.limits)
            for pattern in self._all
        ]
        self.limits = functools.lru_cache(_REMEMBERED)(self._limits)
        """Return the limits of a topic's journal, ``None`` if it has none."""

    def covers(self, topic: str) -> bool:
        """Return true if a topic has a journal now."""
        return self.in_force and self.limits(topic) is not None

    def limits_kept(self, topic: str) -> JournalLimits | None:
        """Return the limits by which this daemon may end messages of a topic.

        :returns: ``None`` for those of the last append. A daemon that does not serve ends
            nothing by limits of its own: its configuration is not the shop's.
        """
        return self.limits(topic) if self.in_force and self.agreed else None

    @property
    def texts(self) -> tuple[str, ...]:
        """The patterns without their limits, which are each daemon's own."""
        return tuple(pattern.text for pattern in self._all)

    def _limits(self, topic: str) -> JournalLimits | None:
        if topic == self._never:
            return None
        return next((limits for fits, limits in self._fits if fits(topic)), None)
