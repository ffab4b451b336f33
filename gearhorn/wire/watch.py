# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The log of job servers that come and go."""

import logging

from gearhorn.wire.address import Address

LOG = logging.getLogger(__name__)


class Watch:
    """A log with one line when a server goes away, and one when it is back.

    Several connections go to each server, and fail and return together.
    """

    def __init__(self) -> None:
        self._away: dict[Address, set[object]] = {}
        self._known: set[Address] = set()

    def up(self, server: Address, who: object) -> None:
        """Record that ``who`` has a connection to ``server``."""
        away = self._away.get(server, set())
        was_away = bool(away)
        away.discard(who)
        if not away and (was_away or server not in self._known):
            self._known.add(server)
            LOG.info("job server %s: connected", server)

    def down(self, server: Address, who: object, reason: object) -> None:
        """Record that ``who`` lost its connection to ``server`` or cannot make one."""
        away = self._away.setdefault(server, set())
        if not away:
            LOG.warning(
                "job server %s: away (%s); trying again. Check that gearmand listens there",
                server,
                reason,
            )
        away.add(who)
