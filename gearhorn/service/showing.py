# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon shown over HTTP."""

import logging
import socket
from collections.abc import Mapping

from gearhorn.daemon.daemon import Daemon
from gearhorn.service.http import Server
from gearhorn.service.listening import Listen
from gearhorn.service.site import Site
from gearhorn.service.watching import Watching

LOG = logging.getLogger(__name__)


class Showing:
    """Probes, metrics and the page, which are watched for from now on."""

    def __init__(self, daemon: Daemon) -> None:
        self._watching = Watching(daemon)
        self._site = Site(daemon, self._watching, {})
        self._server: Server | None = None
        self._watching.start()

    @property
    def configuration(self) -> Mapping[str, str]:
        """The options in force, without secrets, as they are shown."""
        return self._site.configuration

    @configuration.setter
    def configuration(self, options: Mapping[str, str]) -> None:
        self._site.configuration = options

    async def serve(self, listener: socket.socket, listen: Listen) -> None:
        """Serve there from now on, and nowhere else."""
        before, self._server = self._server, Server(self._site.respond)
        await self._server.start(listener)
        if before is not None:
            await before.close()
        LOG.info("probes, metrics and a page over HTTP on %s", listen)

    async def close(self) -> None:
        """Serve and watch no more."""
        if self._server is not None:
            await self._server.close()
        self._watching.close()
