# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The settings on which all daemons of a store must agree.

Each daemon's stand beside its entry. With other durations an entry could end before
its daemon's lists do, and with other names notices and requests go where nobody is.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.base import DaemonEntry

LOG = logging.getLogger(__name__)


class Agreement:
    """A daemon's settings, compared with those of others."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._own: dict[str, Any] = {
            "[matchmaking] topic": settings.matchmaking_topic,
            "[matchmaking] cache_ttl": settings.leases.cache_ttl,
            "[matchmaking] daemon_ttl": settings.leases.daemon_ttl,
        }
        for name, function in vars(settings.functions).items():
            self._own[f"[functions] {name}"] = function
        self.text = msgspec.json.encode(self._own).decode()
        """The settings as the store keeps them."""
        self._named: set[tuple[str, str]] = set()

    def differing(self, entry: DaemonEntry) -> dict[str, Any]:
        """Return the settings of another daemon that differ from this one's, by option.

        Only options that both daemons know are compared.
        """
        if entry.settings is None or entry.settings == self.text:
            return {}
        others = msgspec.json.decode(entry.settings, type=dict[str, Any])
        return {
            option: others[option]
            for option, own in self._own.items()
            if option in others and others[option] != own
        }

    def check(self, daemons: Mapping[str, DaemonEntry]) -> None:
        """Log each daemon and option that differs, once while that daemon has an entry."""
        found: set[tuple[str, str]] = set()
        for worker_id, entry in daemons.items():
            for option, value in self.differing(entry).items():
                found.add((worker_id, option))
                if (worker_id, option) not in self._named:
                    LOG.error(
                        "daemon %s has %s = %s, this one %s: give all daemons the same and "
                        "restart them, or changes of subscriptions are missed",
                        worker_id,
                        option,
                        value,
                        self._own[option],
                    )
        self._named = found
