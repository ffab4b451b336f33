# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The log of job servers that come and go."""

import logging

from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)

MAX_REASONS = 10
"""The number of reasons for one absence that are logged."""


class _Absence:
    """The absence of a server."""

    __slots__ = ("reasons", "who")

    def __init__(self) -> None:
        self.who: set[object] = set()
        """The pools without a connection to the server."""
        self.reasons: set[str] = set()
        """The reasons that were logged."""


class Watch:
    """A log of servers that go away, with each new reason once, and that return.

    Several connections go to each server, and fail and return together.
    """

    def __init__(self) -> None:
        self._away: dict[Address, _Absence] = {}
        self._known: set[Address] = set()

    def up(self, server: Address, who: object) -> None:
        """Record that ``who`` has a connection to ``server``."""
        absence = self._away.get(server)
        if absence is not None:
            absence.who.discard(who)
            if absence.who:
                return
            del self._away[server]
        elif server in self._known:
            return
        self._known.add(server)
        LOG.info("job server %s: connected", server)

    def down(self, server: Address, who: object, reason: str) -> None:
        """Record that ``who`` lost its connection to ``server`` or cannot make one."""
        absence = self._away.get(server)
        if absence is None:
            absence = self._away[server] = _Absence()
            LOG.warning(
                "job server %s: away (%s); trying again. Check that gearmand listens there",
                server,
                reason,
            )
        elif reason not in absence.reasons and len(absence.reasons) < MAX_REASONS:
            LOG.warning("job server %s: still away (%s)", server, reason)
        absence.reasons.add(reason)
        absence.who.add(who)
