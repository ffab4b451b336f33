# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""Connections to the Redis server that a URL names.

=============================================  ==============================
``redis://[user:password@]host[:port][/db]``   TCP
``rediss://[user:password@]host[:port][/db]``  TLS
``unix://[user:password@]/path[?db=1]``        Unix socket
``redis+sentinel://[user:password@]host:port,  the master of a service, asked
host:port/service[?db=1]``                     of Sentinels in turn
``rediss+sentinel://...``                      the same, both over TLS
``redis+cluster://[user:password@]host:port,   the node of a cluster that serves
host:port/``                                   the keys, asked of these in turn
``rediss+cluster://...``                       the same over TLS
=============================================  ==============================

The options after ``?`` have redis-py's names: ``db``, ``username``,
``password``, and with TLS ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``
(files), ``ssl_cert_reqs`` (``required``, ``none``) and ``ssl_check_hostname``.
Sentinels that have a password of their own get ``sentinel_username`` and
``sentinel_password``.

The certificate and the name in it are verified unless the URL says otherwise.
(Before 6.0 redis-py did not verify the name by default.)
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, sentinel
from redis.asyncio import connection as connections
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gearhorn import errors
from gearhorn.net.tls import TLSFiles
from gearhorn.store.redis_cluster import Cluster, Node, ReachedHolder, slot_of, tagged
from gearhorn.store.redis_connection import Reached, ReachedMaster, ReachedSocket

SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)

# redis-py gives these no types.
_make_sentinel: Any = sentinel.Sentinel
_make_sentinel_pool: Any = sentinel.SentinelConnectionPool

_PORT = 6379
_SENTINEL_PORT = 26379
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_FALSE = ("0", "f", "false", "n", "no")

OnConnect = Callable[[connections.AbstractConnection], Awaitable[None]]


class Connections:
    """A pool of connections to the server that a URL names.

    :param key_prefix: the beginning of every key. In a cluster it is given a hash tag.
    :param timeout: seconds that connecting, and each answer, may take.
    :param on_connect: awaited with each new connection.
    :param decodes: whether answers are text, or else bytes.
    :raises StoreMisconfigured: the URL is wrong. The message says how, and does
        not show the URL, which may hold a password.
    """

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = "",
        timeout: float,
        on_connect: OnConnect,
        decodes: bool = True,
    ) -> None:
        parts = _split(url)
        options = _options(parts)
        # With protocol 2 all releases of redis-py from 5 on return the same.
        common: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }
        # One retry, for a pooled connection that the server has closed meanwhile.
        # Not for timeouts: a reply that was lost is reported.
        own: dict[str, Any] = {
            "decode_responses": decodes,
            "redis_connect_func": on_connect,
            "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
            # redis-py 5 needs this as well.
            "retry_on_error": [RedisConnectionError],
        }
        self.key_prefix = key_prefix
        self.cluster: Cluster | None = None
        self._sentinel: sentinel.Sentinel | None = None
        self.pool: connections.ConnectionPool
        if parts.scheme.endswith("+sentinel"):
            service = unquote(parts.path.strip("/"))
            if not service:
                raise _wrong("lacks the name of the service")
            self._sentinel = _sentinel(parts, options, common)
            self.pool = _make_sentinel_pool(
                service, self._sentinel, connection_class=ReachedMaster, **common, **own, **options
            )
        elif parts.scheme.endswith("+cluster"):
            self.key_prefix = tagged(key_prefix)
            self.cluster = _cluster(parts, options, common)
            self.pool = connections.ConnectionPool(
                connection_class=ReachedHolder,
                cluster=self.cluster,
                slot=slot_of(self.key_prefix),
                **common,
                **own,
                **options,
            )
        else:
            kind = _place(parts, options)
            self.pool = connections.ConnectionPool(
                connection_class=kind, **common, **own, **options
            )

    def set_timeout(self, timeout: float) -> None:
        """Give all connections, those that are there too, another timeout."""
        pools = [self.pool]
        pools += [client.connection_pool for client in self._sentinels]
        for pool in pools:
            pool.connection_kwargs.update(socket_timeout=timeout, socket_connect_timeout=timeout)
            for connection in (*pool._available_connections, *pool._in_use_connections):
                connection.socket_timeout = connection.socket_connect_timeout = timeout

    @property
    def _sentinels(self) -> Sequence[Redis]:
        return self._sentinel.sentinels if self._sentinel else ()

    def make(self) -> connections.AbstractConnection:
        """Return a connection that is not the pool's, still to be connected."""
        connection: connections.AbstractConnection
        connection = self.pool.make_connection()  # type: ignore[no-untyped-call]
        return connection

    async def drop_idle(self, begun: float) -> None:
        """Drop idle connections, all of which the server may have forgotten.

        After an outage each would cost a call its timeout. In a cluster another node may
        serve from now on.

        :param begun: when the call began that failed, on :func:`gearhorn.clock.now`.
        """
        if self.cluster is not None:
            self.cluster.forget(begun)
        # They are taken out first. The pool's own method closes them in place, while
        # another call may take one.
        idle = [*self.pool._available_connections]
        self.pool._available_connections.clear()
        await asyncio.gather(
            *(connection.disconnect(nowait=True) for connection in idle),
            return_exceptions=True,
        )

    async def close(self) -> None:
        """Drop all connections. Never raises."""
        try:
            await self.pool.disconnect()
        except (RedisError, OSError):
            pass
        for client in self._sentinels:
            try:
                await client.connection_pool.disconnect()
            except (RedisError, OSError):
                pass


def _wrong(why: str) -> errors.StoreMisconfigured:
    return errors.StoreMisconfigured(f"the URL of the store {why}")


def _split(url: str) -> SplitResult:
    scheme, separator, rest = url.partition("://")
    # urlsplit() expects one address: newer Pythons refuse a list with brackets.
    many = re.split("[/?#]", rest)[0] if "+" in scheme else ""
    try:
        parts = urlsplit(scheme + separator + rest[len(many) :])
    except ValueError:
        raise _wrong("is malformed") from None
    return parts._replace(netloc=many) if many else parts


def _options(parts: SplitResult) -> dict[str, Any]:
    """Return the options in a URL, other than the place, as redis-py takes them."""
    known = ["db", "username", "password"]
    if parts.scheme.startswith("rediss"):
        known += _TLS_OPTIONS
    if parts.scheme.endswith("+sentinel"):
        known += _SENTINEL_OPTIONS
    options: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in known:
            raise _wrong(f"has the unknown option {name!r}; known are {', '.join(known)}")
    user_info, at, _ = parts.netloc.rpartition("@")
    if at:
        user, _, password = user_info.partition(":")
        options.update(
            {
                name: unquote(value)
                for name, value in (("username", user), ("password", password))
                if value
            }
        )
    if "db" in options:
        options["db"] = _number(options["db"], "database")
    if parts.scheme.startswith("rediss"):
        options["tls_files"] = _tls_files(options)
    return options


def _tls_files(options: dict[str, Any]) -> TLSFiles:
    """Return the files that the TLS options name, and remove these options."""
    said = {name: options.pop(name) for name in _TLS_OPTIONS if name in options}
    for name in _FILES:
        # Otherwise it would look like a server that is away.
        if name in said and not os.access(said[name], os.R_OK):
            raise _wrong(f"names a file for {name} that cannot be read: {said[name]}")
    requirement = said.get("ssl_cert_reqs", "required")
    if requirement not in ("required", "none"):
        raise _wrong("has an ssl_cert_reqs other than required and none")
    ca, cert, key = (said.get(name) for name in _FILES)
    try:
        return TLSFiles(
            ca,
            cert,
            key,
            verify=requirement == "required",
            check_name=str(said.get("ssl_check_hostname", True)).lower() not in _FALSE,
        )
    except errors.ConfigurationError as error:
        raise _wrong(f"names files for TLS that cannot be used: {error}") from None


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise _wrong(f"has a {what} that is no number")
    return int(text)


def _place(parts: SplitResult, options: dict[str, Any]) -> type[connections.AbstractConnection]:
    """Add the place of the server to the options; return the kind of connection."""
    if parts.scheme == "unix":
        if not parts.path:
            raise _wrong("lacks the path of the socket")
        options["path"] = unquote(parts.path)
        return ReachedSocket
    options["host"], options["port"] = _host_and_port(parts.netloc, _PORT)
    options["socket_keepalive"] = True
    database = parts.path.strip("/")
    if database:
        options.setdefault("db", _number(database, "database"))
    return Reached


def _host_and_port(netloc: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{netloc.rpartition('@')[2]}")
        port = parts.port or default_port
    except ValueError:
        raise _wrong("has a host and port that are malformed") from None
    if not parts.hostname:
        raise _wrong("lacks a host")
    return unquote(parts.hostname), port


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    """Return the places in a URL that names several."""
    places = parts.netloc.rpartition("@")[2].split(",")
    return [_host_and_port(place, default_port) for place in places]


def _sentinel(
    parts: SplitResult, options: dict[str, Any], common: dict[str, Any]
) -> sentinel.Sentinel:
    """Return a client of the Sentinels; take their options out of ``options``."""
    own = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in _SENTINEL_OPTIONS
        if name in options
    }
    if "tls_files" in options:
        own["tls_files"] = options["tls_files"]
    # Without retries: another Sentinel is asked at once.
    options = {"retry": Retry(NoBackoff(), 0), **common, **own}
    asker: sentinel.Sentinel = _make_sentinel([], sentinel_kwargs=options)
    for host, port in _hosts(parts, _SENTINEL_PORT):
        pool = connections.ConnectionPool(connection_class=Reached, host=host, port=port, **options)
        asker.sentinels.append(_SentinelClient(connection_pool=pool))
    return asker


def _cluster(parts: SplitResult, options: dict[str, Any], common: dict[str, Any]) -> Cluster:
    if parts.path.strip("/") or "db" in options:
        raise _wrong("names a database, and a cluster has none")
    options["socket_keepalive"] = True
    nodes = [Node(*place) for place in _hosts(parts, _PORT)]
    # Without retries: another node is asked at once.
    own = {"decode_responses": True, "retry": Retry(NoBackoff(), 0)}
    return Cluster(nodes, {**common, **own, **options})


class _SentinelClient(Redis):
    """A client of one Sentinel whose text form holds no password.

    If no Sentinel knows a master, redis-py shows its clients in the error, in some
    releases with their passwords.
    """

    def __repr__(self) -> str:
        options = self.connection_pool.connection_kwargs
        return f"{options['host']}:{options['port']}"
