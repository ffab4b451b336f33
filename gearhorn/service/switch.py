# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""HTTP, which can be turned on, moved and turned off while the daemon runs."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from gearhorn.daemon.daemon import Daemon
from gearhorn.service.listening import Listen

if TYPE_CHECKING:
    from gearhorn.service.showing import Showing


class HttpSettings(NamedTuple):
    """Where HTTP is served, and the options that are shown there."""

    listen: Listen
    configuration: Mapping[str, str]


class Switch:
    """Probes, metrics and a page over HTTP: somewhere, or nowhere."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._showing: Showing | None = None
        self._listen: Listen | None = None

    def bind(self, settings: HttpSettings | None) -> socket.socket | None:
        """Return a socket for :meth:`apply`, ``None`` if that needs none.

        :raises ConfigurationError: HTTP cannot be served there.
        """
        if settings is None or settings.listen == self._listen:
            return None
        return settings.listen.bind()

    async def apply(self, settings: HttpSettings | None, listener: socket.socket | None) -> None:
        """Serve as the settings say from now on.

        :param listener: what :meth:`bind` has returned for them.
        """
        if settings is None:
            await self.close()
            return
        if self._showing is None:
            # Imported here, with what only it needs.
            from gearhorn.service.showing import Showing

            self._showing = Showing(self._daemon)
        self._showing.configuration = settings.configuration
        self._listen = settings.listen
        if listener is not None:
            await self._showing.serve(listener, settings.listen)

    async def close(self) -> None:
        """Serve nothing more."""
        showing, self._showing, self._listen = self._showing, None, None
        if showing is not None:
            await showing.close()
