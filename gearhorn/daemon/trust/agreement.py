# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The settings on which all daemons of a store must agree.

Each daemon's stand beside its entry. With other names notices and requests go where
nobody is. With other durations nothing is missed, but all go by the longest: a change
waits for the longest list of any daemon, and an entry is removed after the longer of its
daemon's time and that of the one that removes it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from gearhorn.daemon.guard.limits import LimitSettings
from gearhorn.daemon.leases import MARGIN
from gearhorn.daemon.settings import DaemonSettings
from gearhorn.store.base import DaemonEntry

LOG = logging.getLogger(__name__)


_TOPIC = "[matchmaking] topic"
_CACHE_TTL = "[matchmaking] cache_ttl"
_DAEMON_TTL = "[matchmaking] daemon_ttl"
LIMITS = "[limits] "
"""The beginning of the options on which daemons had better agree."""


class Agreement:
    """A daemon's settings, compared with those of others."""

    def __init__(self, settings: DaemonSettings) -> None:
        self._own: dict[str, Any] = {
            _TOPIC: settings.matchmaking_topic,
            _CACHE_TTL: settings.leases.cache_ttl,
            _DAEMON_TTL: settings.leases.daemon_ttl,
        }
        for name, function in vars(settings.functions).items():
            self._own[f"[functions] {name}"] = function
        self.text = ""
        """The settings as the store keeps them."""
        self._named: set[tuple[str, str]] = set()
        self.apply(settings.limits)
        self.daemons = 1
        """The number of daemons that had an entry when entries were last read."""
        self.longest_list = settings.leases.longest_list
        """The time after which a list is too old to be used, whoever of all daemons that
        were ever seen has read it. One whose entry is lost may still use its lists."""

    def apply(self, limits: LimitSettings) -> bool:
        """Take other limits; return true if :attr:`text` is another one then."""
        before = self.text
        for name, limit in vars(limits).items():
            self._own[LIMITS + name] = limit
        self.text = msgspec.json.encode(self._own).decode()
        # They are compared anew.
        self._named = {named for named in self._named if not named[1].startswith(LIMITS)}
        return self.text != before

    def differing(self, entry: DaemonEntry) -> dict[str, Any]:
        """Return the settings of another daemon that differ from this one's, by option.

        Only options that both daemons know are compared.
        """
        if entry.settings is None or entry.settings == self.text:
            return {}
        others = _decode(entry.settings)
        return {
            option: others[option]
            for option, own in self._own.items()
            if option in others and others[option] != own
        }

    def daemon_ttl(self, entry: DaemonEntry) -> float:
        """Return the time without renewal after which an entry may be removed."""
        return max(self._seconds(None, _DAEMON_TTL), self._seconds(entry, _DAEMON_TTL))

    def _seconds(self, entry: DaemonEntry | None, option: str) -> float:
        """Return a duration of a daemon, or one's own where an entry does not tell it."""
        own = float(self._own[option])
        if entry is None or entry.settings is None or entry.settings == self.text:
            return own
        value = _decode(entry.settings).get(option)
        return float(value) if isinstance(value, (int, float)) else own

    def check(self, daemons: Mapping[str, DaemonEntry]) -> None:
        """Note how long lists last; log each daemon and option that differs, once.

        It is logged again if that daemon had no entry in between.
        """
        found: set[tuple[str, str]] = set()
        self.daemons = max(1, len(daemons))
        for worker_id, entry in daemons.items():
            # No daemon keeps a list for longer than its entry stands.
            longest = min(
                MARGIN * self._seconds(entry, _CACHE_TTL), self._seconds(entry, _DAEMON_TTL)
            )
            self.longest_list = max(self.longest_list, longest)
            for option, value in self.differing(entry).items():
                found.add((worker_id, option))
                if (worker_id, option) not in self._named:
                    self._name(worker_id, option, value)
        self._named = found

    def _name(self, worker_id: str, option: str, value: object) -> None:
        own = self._own[option]
        if option.startswith(LIMITS):
            LOG.warning(
                "daemon %s has %s = %s, this one %s: each goes by its own. Give all daemons the "
                "same, and reload them",
                worker_id,
                option,
                value,
                own,
            )
            return
        LOG.error(
            "daemon %s has %s = %s, this one %s: give all daemons the same and "
            "restart them, or registrations wait for leases and requests go unserved",
            worker_id,
            option,
            value,
            own,
        )


def _decode(text: str) -> dict[str, Any]:
    return msgspec.json.decode(text, type=dict[str, Any])
