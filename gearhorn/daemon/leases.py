# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The durations that the promise about registrations rests on.

A list of subscribers may be used for ``cache_ttl`` after it was asked for. A
daemon that does not answer is therefore waited for that long, and a tenth: no
two clocks run at the same rate. An entry that is not renewed for ``daemon_ttl``
is removed, and its daemon is told of no change from then on; so a daemon keeps
no list whose lease could outlast its entry. (Gray and Cheriton, "Leases", 1989.)
"""

from dataclasses import dataclass

from gearhorn import errors

MARGIN = 1.1
"""By how much one clock may run faster than another."""

_RENEWALS = 3
_REMOVAL_LOOKS = 2
"""How many times the others look at the entries in the time in which they notice
that one was renewed last, and that it has not been renewed since."""


@dataclass(frozen=True)
class Leases:
    """All times are in seconds.

    :param cache_ttl: how long a list may be used.
    :param daemon_ttl: after how long without renewal an entry is removed.
    :raises ConfigurationError: an entry could end before any list that its
        daemon keeps.
    """

    cache_ttl: float = 10.0
    daemon_ttl: float = 60.0

    def __post_init__(self) -> None:
        # Right before a renewal is due, the entry still has this long to live.
        if self.longest_list >= self.daemon_ttl - self.renewal_interval:
            raise errors.ConfigurationError(
                f"{self.daemon_ttl:g} is not above 1.65 times cache_ttl, "
                f"{self.cache_ttl:g}, and nothing could be cached"
            )

    @property
    def longest_list(self) -> float:
        """After how long a list that anybody read before is too old to be used."""
        return self.cache_ttl * MARGIN

    @property
    def renewal_interval(self) -> float:
        """How often a daemon renews its entry, and looks at those of the others."""
        return self.daemon_ttl / _RENEWALS

    @property
    def certain_entry(self) -> float:
        """How long after it asked for a renewal a daemon may rely on its entry."""
        return self.daemon_ttl / MARGIN

    @property
    def forgotten_change(self) -> float:
        """After how long whoever made a change would have confirmed it."""
        return 2 * self.longest_list

    @property
    def latest_removal(self) -> float:
        """After how long a daemon that was killed is removed at the latest."""
        return self.daemon_ttl + _REMOVAL_LOOKS * self.renewal_interval
