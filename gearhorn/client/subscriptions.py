# Copyright The gearhorn developers
# SPDX-License-Identifier: Apache-2.0
"""The registrations of a subscriber: making, renewing, repeating and removing them."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection

import async_timeout
import msgspec
from msgspec import Raw

from gearhorn import errors, messages
from gearhorn.client.answers import subscription
from gearhorn.client.caller import Caller
from gearhorn.messages import Subscription
from gearhorn.messages.values import NOT_GIVEN
from gearhorn.tasks import OnFailed, Tasks, end
from gearhorn.wire.address import Address
from gearhorn.wire.answer import Answer

LOG = logging.getLogger(__name__)

RENEW_S = 300.0
"""Seconds after which a registration is made again: the store may have lost it."""
RENEWALS_PER_TTL = 3
_JITTER = 0.2
"""The part of a pause that chance may take off, so that subscribers which started
together, or came back together, spread."""
AT_ONCE = 100
"""The most requests on their way at a time."""
ANSWER_TIMEOUT_S = 60.0
"""Seconds that a daemon has to answer, before the log says that none did."""
ASK_AGAIN_S = 300.0
"""Seconds that a daemon has to answer, before it is asked again. While none takes
registrations, as where all wait for their store, each request lies on the job server.
(Rejected: one unique for all requests of a subscription. gearmand would join the next one
to one that was done before a removal or long before its ``ttl`` counts, or whose client it
has lost, which it never runs.)"""
REMOVAL_TIMEOUT_S = 10.0
RETRY_S = 2.0

_Key = tuple[str, str]


class Subscriptions:
    """The subscriptions, by topic and client_id, that are kept registered.

    :param ttl: the time for which each lasts unless renewed, in seconds.
    :param limits: what each says of its queue.
    :param renew: the longest time until each is registered again, in seconds.
    :param on_registered: called with the topic, the client_id and the answer of each that
        was added, once it is registered for the first time.
    :param on_renewed: called with the same, each time after that.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        ttl: float | None,
        limits: messages.Limits,
        renew: float,
        register_function: str,
        unregister_function: str,
        on_registered: Callable[[str, str, Subscription], object],
        on_renewed: Callable[[str, str, Subscription], object],
    ) -> None:
        self._caller = caller
        self._ttl = ttl
        self._limits = limits
        self._pause = renew if ttl is None else min(renew, ttl / RENEWALS_PER_TTL)
        # With a ttl no later than the next renewal would be.
        self._patience = min(ASK_AGAIN_S, max(ANSWER_TIMEOUT_S, self._pause))
        self._register_function = register_function
        self._unregister_function = unregister_function
        self._on_registered = on_registered
        self._on_renewed = on_renewed
        self._wanted: dict[_Key, None] = {}
        self._registered: set[_Key] = set()
        """The wanted subscriptions that have been registered once."""
        self._starts: dict[_Key, Raw] = {}
        """Where in a journal those begin that are to get messages from before."""
        self._progress_at: dict[_Key, float] = {}
        """When a daemon last told that it puts messages from before into the queue."""
        self._due: dict[_Key, None] = {}
        """The subscriptions to register now."""
        self._is_due = asyncio.Event()
        self._pass: asyncio.Future[list[bool]] | None = None
        """The registrations under way."""
        self._asked: dict[_Key, asyncio.Task[Answer]] = {}
        """The answers to registrations that may still come."""
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._connected: set[Address] = set()
        self._seen: set[Address] = set()
        self._tasks = Tasks(lambda error: self.on_failed(error))
        loop = asyncio.get_running_loop()
        self.ended_by: asyncio.Future[BaseException] = loop.create_future()
        """Done once a daemon has refused a registration, with the error."""
        self.on_failed: OnFailed = lambda error: None
        """Called with an unexpected error, after which nothing is renewed."""

    def start(self) -> None:
        """Register and renew from now on."""
        self._tasks.keep(self._keep(), "the registration")

    def add(self, topic: str, client_id: str, start: Raw = NOT_GIVEN) -> None:
        """Register a subscription, and keep it registered.

        :param start: where in the topic's journal it begins. That is said once.
        """
        self._wanted[topic, client_id] = None
        if bytes(start):
            self._starts[topic, client_id] = start
        self._ask_again({(topic, client_id): None})

    def remove(self, topic: str, client_id: str) -> None:
        """Remove a subscription."""
        self._wanted.pop((topic, client_id), None)
        self._registered.discard((topic, client_id))
        self._due.pop((topic, client_id), None)
        self._starts.pop((topic, client_id), None)
        # Its answer tells nothing about a registration after the removal.
        self._asked.pop((topic, client_id), None)
        self._tasks.start(self._unregister((topic, client_id)))

    async def close(self, *, remove: bool) -> None:
        """Register no more, and remove all subscriptions if ``remove``."""
        if remove:
            keys, self._wanted = self._wanted, {}
            self._due.clear()
            if self._pass is not None:
                # Otherwise a registration may be done after its removal.
                await asyncio.wait((self._pass,), timeout=REMOVAL_TIMEOUT_S)
            await asyncio.gather(*[self._unregister(key) for key in keys])
        await self._tasks.cancel()
        await end(self._asked.values())

    def servers_changed(self, servers: Collection[Address]) -> None:
        """Register again when a server is back.

        While it was away, renewals may have come too late.
        """
        came = set(servers) - self._connected
        if came & self._seen:
            self._ask_again(self._wanted)
        self._connected = set(servers)
        self._seen |= came

    def _ask_again(self, keys: dict[_Key, None]) -> None:
        self._due.update(keys)
        self._is_due.set()

    async def _keep(self) -> None:
        while True:
            pause = self._pause * random.uniform(1 - _JITTER, 1)
            try:
                async with async_timeout.timeout(pause):
                    await self._is_due.wait()
            except asyncio.TimeoutError:
                self._due.update(self._wanted)
            self._is_due.clear()
            due, self._due = self._due, {}
            self._pass = asyncio.gather(*[self._register(key) for key in due])
            if not all(await self._pass):
                # Requests without an answer are due again already. A new subscription
                # waits for this pause as well.
                await asyncio.sleep(RETRY_S)
                self._is_due.set()

    async def _register(self, key: _Key) -> bool:
        """Send a registration; return false if no daemon answered."""
        topic, client_id = key
        request = messages.Register.of(topic, client_id, self._ttl, self._limits)
        start = self._starts.get(key)
        if start is not None:
            request = msgspec.structs.replace(request, start=start)
        try:
            async with self._at_once:
                answer = await self._answer(key, request)
            found = subscription(answer)
        except errors.ClientError as error:
            LOG.warning("%s is not registered yet for %s: %s", client_id, topic, error)
            if key in self._wanted:
                self._due[key] = None
            return False
        except errors.GearhornError as error:
            LOG.error("the registration of %s for %s was refused: %s", client_id, topic, error)
            self._wanted.pop(key, None)
            self._registered.discard(key)
            if not self.ended_by.done():
                self.ended_by.set_result(error)
            return True
        if key not in self._wanted:
            # It was removed meanwhile, and the removal may have been done before this.
            await self._unregister(key)
            return True
        if key in self._registered:
            self._on_renewed(topic, client_id, found)
        else:
            self._registered.add(key)
            self._on_registered(topic, client_id, found)
        return start is None or self._is_replayed(key, found)

    def _is_replayed(self, key: _Key, found: Subscription) -> bool:
        """Return true if all messages from before are in the queue."""
        topic, client_id = key
        self._starts.pop(key, None)
        LOG.info("%s gets %s messages of %s from before", client_id, found.replayed, topic)
        if found.stopped not in (messages.QUEUE_STOPPED, messages.REPLACED):
            return True
        # Once it has taken some it gets the next.
        place = {"after": found.after, "journal": found.journal}
        self._starts[key] = Raw(msgspec.json.encode(place))
        self._due[key] = None
        return False

    async def _answer(self, key: _Key, request: messages.Register) -> Answer:
        """Return the answer to a request that is on its way, or to a new one."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = asyncio.get_running_loop().create_task(
                self._caller.call(
                    self._register_function,
                    request.encode(),
                    key[0],
                    self._patience,
                    lambda done, total: self._notes_progress(key),
                    patient=True,
                )
            )
            asked.add_done_callback(lambda done: self._no_longer_asked(key, done))
        while True:
            asked_at = asyncio.get_running_loop().time()
            await asyncio.wait((asked,), timeout=ANSWER_TIMEOUT_S)
            if asked.done():
                return asked.result()
            if self._progress_at.get(key, 0.0) < asked_at:
                raise errors.NoAnswer("no daemon has answered yet; the request is still waiting")

    def _notes_progress(self, key: _Key) -> None:
        self._progress_at[key] = asyncio.get_running_loop().time()

    def _no_longer_asked(self, key: _Key, done: "asyncio.Task[Answer]") -> None:
        if self._asked.get(key) is done:
            del self._asked[key]
            self._progress_at.pop(key, None)
        # Nobody may have waited for it any more.
        if not done.cancelled():
            done.exception()

    async def _unregister(self, key: _Key) -> None:
        topic, client_id = key
        request = messages.Unregister(topic=topic, client_id=client_id)
        try:
            async with self._at_once:
                answer = await self._caller.call(
                    self._unregister_function, request.encode(), topic, REMOVAL_TIMEOUT_S
                )
            subscription(answer)
        except errors.GearhornError as error:
            LOG.warning("%s is still registered for %s: %s", client_id, topic, error)
