# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Where the job servers are and how to reach them."""

import logging
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gearhorn import errors

LOG = logging.getLogger(__name__)

DEFAULT_PORT = 4730


@dataclass(frozen=True)
class Server:
    """The address of a job server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Server":
        """The address in ``host:port``, ``host``, ``[v6]:port`` or ``[v6]``.

        :raises InvalidServer: it is none of these.
        """
        text = text.strip()
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            colon, port = rest[:1], rest[1:]
            sound = bool(bracket) and colon in ("", ":")
        else:
            host, colon, port = text.partition(":")
            sound = True
        if not colon:
            port = str(DEFAULT_PORT)
        if (
            not sound
            or not host
            or " " in host
            or not host.isprintable()
            or not (port.isascii() and port.isdigit() and len(port) < 10)
            or not 0 < int(port) < 65536
        ):
            raise errors.InvalidServer(
                f"{text!r} is no job server address: write host:port, "
                "with an IPv6 address in brackets"
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_servers(texts: Iterable[str]) -> Sequence[Server]:
    """The servers in ``texts``, each once.

    :raises InvalidServer: one is no address, or there is none.
    """
    servers = tuple(dict.fromkeys(Server.parse(text) for text in texts))
    if not servers:
        raise errors.InvalidServer("name at least one job server")
    return servers


def tls_context(
    ca: str | None, cert: str | None = None, key: str | None = None
) -> ssl.SSLContext | None:
    """The TLS settings for all job servers, or ``None`` for plain TCP.

    gear's own context checks no name and forbids TLS 1.3.

    :param ca: the file of the authority that signed the servers'
        certificates.
    :param cert: the file of this side's certificate, if servers ask for one.
    :param key: the file of its key, if it is not in ``cert``.
    :raises ConfigurationError: a file cannot be used.
    """
    if not ca:
        if cert or key:
            raise errors.ConfigurationError(
                "tls_cert and tls_key need tls_ca, the authority that servers are checked against"
            )
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key or None)
    except OSError as error:
        raise errors.ConfigurationError(
            f"TLS cannot be set up with {ca}{f' and {cert}' if cert else ''}: {error}"
        ) from None
    return context


@dataclass(frozen=True)
class Settings:
    """How connections are made and watched. All times are in seconds."""

    tls: ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    liveness_interval: float = 10.0
    """After this long without a byte from a server it is asked for an echo."""
    liveness_timeout: float = 10.0
    """If none comes for this long, the server counts as lost."""
    reconnect_max: float = 10.0
    """The longest pause between two attempts to connect."""


class Watch:
    """Says once in the log that a server is away, and once that it is back.

    Several connections go to each server; they fail and return together.
    """

    def __init__(self) -> None:
        self._away: dict[Server, set[object]] = {}
        self._known: set[Server] = set()

    def up(self, server: Server, who: object) -> None:
        """``who`` has a connection to ``server``."""
        away = self._away.get(server, set())
        was_away = bool(away)
        away.discard(who)
        if not away and (was_away or server not in self._known):
            self._known.add(server)
            LOG.info("job server %s: connected", server)

    def down(self, server: Server, who: object, reason: object) -> None:
        """``who`` lost its connection to ``server`` or cannot make one."""
        away = self._away.setdefault(server, set())
        if not away:
            LOG.warning(
                "job server %s: away (%s); trying again. Check that gearmand listens there",
                server,
                reason,
            )
        away.add(who)
