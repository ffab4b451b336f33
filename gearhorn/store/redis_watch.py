# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The watch of journals in Redis: what is published to their channels.

It has a connection of its own, which is open while anything is watched, and a little longer: a
reader that has its answer asks again. What is to be watched from one turn of the loop on is one
command. (Rejected: redis-py's PubSub, which connects again by itself and tells nobody that it has
missed something.)
"""

import asyncio
from collections.abc import Callable
from typing import Any

from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from gearhorn.store import redis_warnings
from gearhorn.store.patience import FIRST_DELAY, LONGEST_DELAY
from gearhorn.store.redis_client import RedisClient
from gearhorn.store.redis_errors import TRANSLATED
from gearhorn.tasks import Tasks

_LINGER_S = 1.0
"""Seconds for which a channel is still subscribed to that nobody waits for any more."""
_QUIET_S = 20.0
"""After so many seconds without a message the server is asked whether it is there."""


class RedisWatch:
    """The channels of the topics that somebody waits for.

    :param channel: the name of a channel up to the topic.
    :param on_append: called with a topic, or with ``None`` if messages may have been missed.
    :param timeout: seconds for which :meth:`add` waits at most.
    """

    def __init__(
        self,
        client: RedisClient,
        channel: str,
        on_append: Callable[[str | None], object],
        timeout: float,
    ) -> None:
        self._client = client
        self._channel = channel
        self._on_append = on_append
        self._timeout = timeout
        self._tasks = Tasks()
        self._running: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        """Set while it is up."""
        self._topics: dict[str, asyncio.Event] = {}
        """The topics that are watched. The event is set once that is so, or fails."""
        self._new: list[str] = []
        """Those of them to which it subscribes in the next turn of the loop."""
        self._subscribed: set[str] = set()
        """The topics of which the connection brings news, also those not watched any more."""
        self._tidying: asyncio.TimerHandle | None = None
        self._is_refused = False

    async def add(self, topic: str) -> None:
        ready = self._topics.get(topic)
        if ready is None:
            ready = self._topics[topic] = asyncio.Event()
            if topic in self._subscribed:
                ready.set()
            elif self._running is None:
                self._running = self._tasks.start(self._run())
            else:
                if not self._new:
                    asyncio.get_running_loop().call_soon(self._subscribe)
                self._new.append(topic)
        if ready.is_set():
            return
        try:
            await asyncio.wait_for(ready.wait(), self._timeout)
        except (TimeoutError, asyncio.TimeoutError):
            # Whoever waits looks by itself now and then.
            pass

    def discard(self, topic: str) -> None:
        ready = self._topics.pop(topic, None)
        if ready is None:
            return
        ready.set()
        self._tidy_soon()

    async def close(self) -> None:
        self._topics.clear()
        if self._tidying is not None:
            self._tidying.cancel()
        await self._tasks.cancel()
        self._running = None

    def refused(self) -> None:
        """Say once that the rights are missing without which readers are not told."""
        if not self._is_refused:
            self._is_refused = True
            redis_warnings.untold()

    def _subscribe(self) -> None:
        topics, self._new = self._new, []
        self._tasks.start(self._send("SUBSCRIBE", *topics))

    def _tidy_soon(self) -> None:
        if self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(_LINGER_S, self._tidy)

    def _tidy(self) -> None:
        """Hear no more of what nobody waits for."""
        self._tidying = None
        left = [topic for topic in self._subscribed if topic not in self._topics]
        if not self._topics and self._running is not None:
            self._running.cancel()
            self._running = None
            self._subscribed.clear()
        elif left:
            self._subscribed.difference_update(left)
            self._tasks.start(self._send("UNSUBSCRIBE", *left))

    async def _send(self, command: str, *topics: str) -> None:
        # Otherwise it is sent once the connection is up.
        if self._connection is None:
            return
        try:
            await self._connection.send_command(command, *(self._channel + t for t in topics))
        except TRANSLATED:
            # Whoever reads finds the connection lost.
            pass

    async def _run(self) -> None:
        """Keep a connection up that is subscribed to the channels."""
        delay = FIRST_DELAY
        while True:
            connection = self._client.connections.make()
            begun = asyncio.get_running_loop().time()
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
                self._connection = connection
                # The name without a topic, which is none, keeps it subscribed to something.
                await self._send("SUBSCRIBE", "", *self._topics)
                await self._read(connection)
            except TRANSLATED as error:
                if isinstance(error, exceptions.NoPermissionError):
                    self.refused()
            finally:
                self._connection = None
                self._subscribed.clear()
                await _disconnect(connection)
            for ready in self._topics.values():
                ready.set()
            if asyncio.get_running_loop().time() - begun > LONGEST_DELAY:
                delay = FIRST_DELAY
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _read(self, connection: Any) -> None:
        """Pass on what comes, until the connection is lost."""
        asked = False
        while True:
            reply = await connection.read_response(timeout=_QUIET_S, disconnect_on_error=False)
            if reply is None and asked:
                raise exceptions.ConnectionError("no answer")
            asked = reply is None
            if asked:
                await connection.send_command("PING")
                continue
            kind, name = reply[:2]
            topic = name.decode()[len(self._channel) :]
            if kind == b"message":
                if topic in self._topics:
                    self._on_append(topic)
            elif kind == b"subscribe" and topic:
                self._subscribed.add(topic)
                if topic in self._topics:
                    self._topics[topic].set()
                else:
                    self._tidy_soon()
            elif kind == b"subscribe" and not topic:
                # That is the first answer. Something may have come while nothing was heard.
                self._on_append(None)


async def _disconnect(connection: AbstractConnection) -> None:
    try:
        await connection.disconnect(nowait=True)
    except TRANSLATED:
        pass
