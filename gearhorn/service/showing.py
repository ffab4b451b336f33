# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The daemon shown over HTTP for as long as it runs."""

import contextlib
import logging
from collections.abc import AsyncIterator

from gearhorn.daemon.daemon import Daemon
from gearhorn.service.http import Server
from gearhorn.service.running import HttpSettings
from gearhorn.service.site import Site
from gearhorn.service.watching import Watching

LOG = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def shown(daemon: Daemon, settings: HttpSettings) -> AsyncIterator[None]:
    """Serve probes, metrics and the page while the block runs.

    :raises ConfigurationError: the address is taken, or cannot be listened on.
    """
    listener = settings.listen.bind()
    watching = Watching(daemon)
    server = Server(Site(daemon, watching, settings.configuration).respond)
    watching.start()
    try:
        await server.start(listener)
        LOG.info("probes, metrics and a page over HTTP on %s", settings.listen)
        yield
    finally:
        await server.close()
        watching.close()
