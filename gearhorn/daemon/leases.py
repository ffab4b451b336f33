# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The durations on which the promise about registrations rests.

A list of subscribers may be used for ``cache_ttl`` after it was asked for. So a
change waits that long, and a tenth more, for a daemon that does not answer: no two
clocks run at the same rate. An entry that is not renewed for ``daemon_ttl`` is
removed, and its daemon is told of no change from then on. So a daemon keeps no list
whose lease could outlast its entry. (Gray and Cheriton, "Leases", 1989.)
"""

from dataclasses import dataclass

from gearhorn import errors

MARGIN = 1.1
"""The factor by which one clock may run faster than another."""

_RENEWALS = 3
_REMOVAL_LOOKS = 2
"""The looks at the entries that others need to remove one: the first sees the last
renewal, the other that none has come since."""


def forgotten_change(longest_list: float) -> float:
    """Return the time in which a daemon that is alive confirms a change that it made."""
    return 2 * longest_list


@dataclass(frozen=True)
class Leases:
    """The durations of lists and entries. All times are in seconds.

    :param cache_ttl: the time for which a list may be used.
    :param daemon_ttl: the time without renewal after which an entry is removed.
    :raises ConfigurationError: an entry could end before any list that its
        daemon keeps.
    """

    cache_ttl: float = 10.0
    daemon_ttl: float = 60.0

    def __post_init__(self) -> None:
        # The entry has this time left just before a renewal is due.
        if self.longest_list >= self.daemon_ttl - self.renewal_interval:
            raise errors.ConfigurationError(
                f"{self.daemon_ttl:g} is not above 1.65 times cache_ttl, "
                f"{self.cache_ttl:g}, and nothing could be cached"
            )

    @property
    def longest_list(self) -> float:
        """The time after which a list of a daemon with these durations is too old."""
        return self.cache_ttl * MARGIN

    @property
    def renewal_interval(self) -> float:
        """The time from one renewal of an entry to the next, and between looks at others."""
        return self.daemon_ttl / _RENEWALS

    @property
    def certain_entry(self) -> float:
        """The time, from the request for a renewal, for which an entry surely stands."""
        return self.daemon_ttl / MARGIN

    @property
    def latest_removal(self) -> float:
        """The longest time until the entry of a daemon that was killed is removed."""
        return self.daemon_ttl + _REMOVAL_LOOKS * self.renewal_interval
